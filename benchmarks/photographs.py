"""How much memory do 13,000 photographs take at 224 pixels, and how fast are they decoded?

Claim: reading a folder of 13,000 photographs for a search at 224 x 224, looking once at every image that a search looks
at, and going through an epoch's random crops stays under 1.5 GiB resident, PyTorch included; as one tensor the
pixels alone would be 1.8 GiB. Only the search, calibration and test images are decoded before a training begins, and
once.

The photographs are copies of those of a folder, under other names until there are enough. Reading happens in a process
of its own, whose peak the kernel counts (VmHWM, with the pages of mapped files).

    python benchmarks/photographs.py --data-dir imagenette
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Goal, at_least, run
from gaprune.data import ImageSet, load_data
from gaprune.data.decode import decode_one
from gaprune.data.fit import Fit
from gaprune.data.listing import SUFFIXES
from gaprune.data.photos import epoch_of
from gaprune.errors import DataError
from gaprune.options import SearchOptions
from gaprune.progress import SILENT, make_reporter
from gaprune.session.images import in_hand, split_images

SIDE = 224
TRAIN_SHARE = 0.75
EPOCH_IMAGES = 2048
BATCH = 64
RATE_FILES = 1000
GIB = 1 << 30
GOALS = (
    Goal("peak resident, GiB", "<=", 1.5, "GiB"),
    Goal("second reading, share of the first's time", "<=", 0.5, "of it"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--data-dir", type=Path, help="folder of photographs to copy, at any depth")
    parser.add_argument("--photographs", type=int, default=13_000)


def copied(source: Path, target: Path, count: int) -> None:
    """Copies of a folder's photographs as ``train/`` and ``test/``, each class from one folder of the source."""
    classes: dict[Path, list[Path]] = {}
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            classes.setdefault(path.parent, []).append(path)
    if len(classes) < 2:
        raise DataError(f"{source} has photographs in {len(classes)} folders: at least 2 are needed")
    each = -(-count // len(classes))
    for number, files in enumerate(classes.values()):
        chosen = itertools.islice(itertools.cycle(files), min(each, count - number * each))
        for index, path in enumerate(chosen):
            part = "train" if index < TRAIN_SHARE * each else "test"
            folder = target / part / f"class{number:02d}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / f"{index:05d}{path.suffix}")


def memory(name: str) -> float:
    """GiB of this process: ``VmRSS`` now or ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / GIB
    raise DataError("this system does not say how much memory a process has: run on Linux")


def read(root: Path, side: int) -> dict[str, Any]:
    """Memory after each stage of what a search and an epoch of a training do with photographs."""
    torch.set_num_threads(1)
    stages = [("imports", 0.0, memory("VmRSS"))]
    begun = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal begun
        now = time.perf_counter()
        stages.append((name, now - begun, memory("VmRSS")))
        begun = time.perf_counter()

    options = SearchOptions.of(data_dir=root, image_size=side, cache_dir=root.parent / "cache")
    data = load_data(data_dir=root, image_size=side, cache_dir=options.run.cache_dir, normalise="imagenet")
    stage("listed")
    splits, _ = in_hand(split_images(options, data, True, SILENT), options.run.cache_dir, torch.device("cpu"), SILENT)
    stage("search, calibration and test images decoded")
    looked_at = sum(_seen(getattr(splits, part)) for part in ("search", "calibration", "test"))
    stage("all of them looked at")
    chunks = torch.randperm(len(splits.train))[:EPOCH_IMAGES].split(BATCH)
    with epoch_of(splits.train, chunks, 0) as train:
        cropped = sum(len(train.batch(chunk)[0]) for chunk in chunks)
    stage("random crops of an epoch")
    return {
        "stages": stages,
        "peak": memory("VmHWM"),
        "photographs": len(data.train) + len(data.test),
        "looked_at": looked_at,
        "cropped": cropped,
    }


def _seen(images: ImageSet) -> int:
    """Number of images, each of which was read."""
    count = 0
    for start in range(0, len(images), BATCH):
        batch = images.images[start : start + BATCH]
        count += len(batch) if int(batch.max()) >= 0 else 0
    return count


def _reading(root: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--read", str(root)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise DataError(f"reading failed: {made.stderr[-400:]}")
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return found


def rates(root: Path, count: int) -> dict[str, float]:
    """Photographs a second that are decoded and brought to size: in one thread, in threads, in processes."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()][:count]
    workers = len(os.sched_getaffinity(0))
    _decoded(files)  # so that every way finds the files in the system's cache
    found = {"one thread": _rate(lambda: _decoded(files), len(files))}
    chunks = [files[start : start + 50] for start in range(0, len(files), 50)]
    ways: dict[str, Callable[[], Executor]] = {
        f"{workers} threads": lambda: ThreadPoolExecutor(workers),
        f"{workers} processes": lambda: ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")),
    }
    for name, make in ways.items():
        with make() as pool:
            list(pool.map(_decoded, chunks[:workers]))  # processes have imported what they need
            found[name] = _rate(lambda pool=pool: list(pool.map(_decoded, chunks)), len(files))  # type: ignore[misc]
    return found


def _decoded(files: list[Path]) -> list[np.ndarray[Any, Any]]:
    fit = Fit(SIDE, SIDE)
    return [one for path in files if isinstance(one := decode_one(path, fit.centred), np.ndarray)]


def _rate(work: Callable[[], object], count: int) -> float:
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Two readings of one folder, and rates."""
    at_least(options, photographs=100)
    if options.data_dir is None or not options.data_dir.is_dir():
        raise DataError(f"data-dir must be a folder of photographs, got {options.data_dir}")
    count = 200 if options.quick else options.photographs
    reporter = make_reporter()
    with tempfile.TemporaryDirectory(prefix="photographs-") as folder:
        root = Path(folder) / "photos"
        reporter.say(f"copying {count:,} photographs")
        copied(options.data_dir, root, count)
        speeds = rates(root, min(count, RATE_FILES))
        readings = [_reading(root) for _ in range(2)]
    seconds = [reading["stages"][2][1] for reading in readings]
    return {
        "data": "imagenette160",
        "device": "cpu",
        "figures": {
            "peak resident, GiB": max(reading["peak"] for reading in readings),
            "as one tensor, GiB": readings[0]["photographs"] * 3 * SIDE**2 / GIB,
            "second reading, share of the first's time": seconds[1] / seconds[0],
            **{f"photographs a second, {name}": speed for name, speed in speeds.items()},
        },
        "rows": [
            {"reading": number, "stage": name, "seconds": round(spent, 2), "resident_gib": round(gib, 3)}
            for number, reading in enumerate(readings, start=1)
            for name, spent, gib in reading["stages"]
        ],
        "photographs": readings[0]["photographs"],
        "looked_at": readings[0]["looked_at"],
        "cropped": readings[0]["cropped"],
        "side": SIDE,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        print(json.dumps(read(Path(sys.argv[2]), SIDE)))
        raise SystemExit(0)
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
