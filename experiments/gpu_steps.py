"""The steps of ``gpu.py``: what each does, in a process of its own, with what those before it have left in ``work``.

Small as well as large: with ``quick`` a small network on the digits stands in for VGG16 and ResNet18 on CIFAR-10.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_goals import QUICK_TARGETS, TARGETS, reached
from running import QUICK_SIZES, Setting, members_within
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.stats import spearmanr
from torch import nn

import gaprune
from gaprune.baseline import Subject as Wanted
from gaprune.baseline import default_recipe, held_out_size, load_baseline, resolve_baseline, train_baseline
from gaprune.compress.timing import median_seconds
from gaprune.data import ImageData, load_data, split
from gaprune.device import choose_device, pinned
from gaprune.driver.members import CSV
from gaprune.errors import TrainingError
from gaprune.evaluate import Evaluator, measure
from gaprune.progress import Reporter, duration, make_reporter
from gaprune.runs import FrontRow, environment, read_csv
from gaprune.runs.files import write_json
from gaprune.training import Distillation, Recipe, bfloat16_pays, estimate_seconds
from gaprune.training.subject import new_network

# the folder of benchmarks is on the path by now
import scaling  # isort: skip
import subjects  # isort: skip
import throughput  # isort: skip

ROOT = Path(__file__).parents[1]
RESULT = "result.json"
NETWORKS = ("vgg16", "resnet18")
QUICK_NETWORK = "running:quick_network"

BUDGETS = (0.5, 0.2, 0.1, 0.04)
"""Shares of the FLOPs at which members are trained on."""

CUTOUT = 8
"""Side of the square that a baseline's training images lack: a quarter of theirs."""

EPOCHS = {"least": 15, "most": 150}
"""Of a baseline, whatever time there is."""

SLOWER = 1.25
"""A training beside others takes so many times as long as the few steps say that are timed before it."""

GENOMES = 30

LARGE_BATCH = 1_000
"""Images a forward pass, where launching kernels takes longer than computing: fewer and larger ones."""


@dataclass(frozen=True)
class Here:
    """What a step may use.

    Attributes:
        home: folder of its results, which come back.
        work: folder that steps share, which does not.
        data_dir: CIFAR-10, as a folder.
        quick: whether everything is small.
        seconds: that its trainings may take.
        reporter: told how it goes.
    """

    home: Path
    work: Path
    data_dir: Path | None
    quick: bool
    seconds: float
    reporter: Reporter

    @property
    def cache(self) -> Path:
        """Where decoded images are kept."""
        return self.work / "cache"

    def data(self) -> ImageData:
        """The images."""
        if self.quick:
            return load_data("digits", cache_dir=self.cache)
        return load_data("auto", data_dir=self.data_dir, cache_dir=self.cache, reporter=self.reporter)

    def network(self, name: str) -> str:
        """The name by which a network is built."""
        return QUICK_NETWORK if self.quick else name

    def weights(self, name: str) -> Path:
        """Where the step ``baseline`` has left a network's weights."""
        return self.work / f"{name}.safetensors"

    def run(self, name: str) -> Path:
        """The run directory of a network's search."""
        return self.work / f"search-{name}"

    def options(self, name: str) -> dict[str, Any]:
        """Options of a search of a network."""
        common = {"checkpoint": self.weights(name), "cache_dir": self.cache}
        if self.quick:
            small = {k: v for k, v in QUICK_SIZES.items() if k not in ("device", "threads")}
            return {"model": QUICK_NETWORK, "data": "digits", **common, **small}
        return {"model": name, "data": "auto", "data_dir": self.data_dir, **common}

    def subject(self, name: str) -> subjects.Subject:
        """A network as benchmarks have it."""
        device, data = choose_device("auto"), self.data()
        search = int(QUICK_SIZES["search_size"]) if self.quick else held_out_size(data)
        calibration = min(subjects.CALIBRATION_IMAGES, len(data.train) - search)
        parts = split(data, search_size=search, calibration_size=calibration, seed=0)
        baseline = resolve_baseline(
            self.network(name),
            "cifar",
            data,
            train=parts.train,
            validate=parts.search,
            cache_dir=self.cache,
            device=device,
            checkpoint=self.weights(name),
        )
        return subjects._subject(
            f"{name}-{data.name}", name, baseline, data, parts, 64 if self.quick else subjects.RECALIBRATION_IMAGES
        )

    def write(self, **result: Any) -> None:
        """Write what is known so far, with how it was made."""
        made = {"environment": environment(cards()), "driver": driver(), "torch_cuda": torch.version.cuda}
        write_json(self.home / RESULT, made | result)


def cards() -> list[str]:
    """The GPUs of this machine."""
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def driver() -> str | None:
    """The version of NVIDIA's driver; ``None`` where there is none."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def tests(here: Here) -> None:
    """The tests that need a CUDA device; without one all are skipped."""
    folders = ["tests/cuda", "tests/data/test_augment.py"]
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-n", "0", "-rs", *folders]
    made = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    print(made.stdout, made.stderr)
    here.write(status=made.returncode, tail=made.stdout.splitlines()[-40:])
    if made.returncode:
        raise SystemExit(f"pytest ended with {made.returncode}")


def images(here: Here) -> None:
    """Decode the images once, for all steps."""
    began = time.monotonic()
    data = here.data()
    here.write(images=len(data.train) + len(data.test), seconds=round(time.monotonic() - began, 2), source=data.name)


def baseline(here: Here, name: str) -> None:
    """Train a network on the images that a search with default options leaves; keep it in half precision."""
    data, device = here.data(), choose_device("auto")
    size = QUICK_SIZES["search_size"] if here.quick else held_out_size(data)
    parts = split(data, search_size=int(size), calibration_size=1, seed=0)
    subject = Wanted(here.network(name), "cifar", data, parts.train, parts.search, device)
    recipe = _baseline_recipe(here, subject)
    here.reporter.say(f"{name}: {recipe}")
    began = time.monotonic()
    try:
        path = train_baseline(subject, recipe, here.work / f"baseline-{name}", here.reporter)
    except TrainingError as error:
        here.reporter.say(f"{name}: {error}")
        recipe = dataclasses.replace(recipe, lr=recipe.lr / 2, epochs=max(1, recipe.epochs // 2))
        path = train_baseline(subject, recipe, here.work / f"baseline-{name}-gentler", here.reporter)
    seconds = time.monotonic() - began
    kept = here.home / f"{name}.safetensors"
    _halve(path, kept)
    found = load_baseline(subject, kept)
    accuracy = {
        part: measure(found.model, getattr(parts, part).to(device), found.mean, found.std).accuracy
        for part in ("search", "test")
    }
    shutil.copy(kept, here.weights(name))
    here.write(network=name, data=data.name, recipe=recipe.record(), seconds=round(seconds, 1), accuracy=accuracy)
    here.reporter.say(f"{name}: top-1 {accuracy['test']:.4f} on the test images, {duration(seconds)}")


def _baseline_recipe(here: Here, subject: Wanted) -> Recipe:
    recipe = default_recipe(subject.model_name, subject.data, subject.device)
    if here.quick:
        return dataclasses.replace(recipe, epochs=3, pad=1)
    recipe = dataclasses.replace(recipe, cutout=CUTOUT)
    each = _epoch_seconds(subject, new_network(subject, 0).to(subject.device), recipe)
    return dataclasses.replace(recipe, epochs=_epochs(here.seconds, each, **EPOCHS))


def _epoch_seconds(subject: Wanted, network: nn.Module, recipe: Recipe, **lesson: Any) -> float:
    """Of one epoch, beside other steps."""
    one, count = dataclasses.replace(recipe, epochs=1), len(subject.train)
    shape, checked = subject.data.image_shape, len(subject.validate)
    return SLOWER * estimate_seconds(network, shape, one, count, validation_images=checked, **lesson)


def _epochs(seconds: float, each: float, *, least: int, most: int) -> int:
    return max(least, min(most, int(seconds / each)))


def _halve(path: Path, kept: Path) -> None:
    """The same weights in half precision; vectors, which weigh little, stay as they are."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    halved = {n: t.half() if t.is_floating_point() and t.ndim > 1 else t for n, t in tensors.items()}
    save_file(halved, kept, metadata=metadata)


def agreement(here: Here, name: str) -> None:
    """Fitness of the same genomes on this device and on the CPU, float32 and in the precision of a search."""
    subject = here.subject(name)
    with pinned(max(torch.get_num_threads(), len(os.sched_getaffinity(0)) // 2)):  # most of it is the CPU's work
        found, space = subjects.study(subject, here.reporter)
        chosen = throughput.genomes(space, tuple(np.linspace(0.9, 0.05, 4 if here.quick else GENOMES).round(4)))
        evaluator = throughput.evaluator_of(subject, space, found, subject.splits.search)
        on_device = {
            half: [throughput.variant(evaluator, half=half, folded=True)(genome) for genome in chosen]
            for half in (False, True)
        }
        again = [throughput.variant(evaluator, half=True, folded=True)(genome) for genome in chosen]
        twin = _cpu_twin(here, subject)
        on_cpu = [twin(genome) for genome in chosen]
    rows = {}
    for half, outcomes in on_device.items():
        pairs = [(a.values["accuracy"], b.values["accuracy"]) for a, b in zip(outcomes, on_cpu, strict=True)]
        losses = [abs(a.values["loss"] - b.values["loss"]) for a, b in zip(outcomes, on_cpu, strict=True)]
        rows["bfloat16" if half else "float32"] = {
            "spearman": float(spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic),
            "largest_difference": max(abs(a - b) for a, b in pairs),
            "largest_difference_of_loss": max(losses),
            "pairs": pairs,
        }
    same = all(a.values == b.values for a, b in zip(on_device[True], again, strict=True))
    here.write(network=name, device=str(subject.device), against="cpu, float32", rows=rows, same_again=same)


def _cpu_twin(here: Here, subject: subjects.Subject) -> Evaluator:
    """The evaluator of the same candidates on the CPU, made there from the images on."""
    parts = {part: getattr(subject.splits, part).to("cpu") for part in ("train", "search", "calibration", "test")}
    twin = dataclasses.replace(
        subject,
        model=subject.model.cpu(),
        splits=dataclasses.replace(subject.splits, **parts),
        recalibration=subject.recalibration.to("cpu"),
    )
    found, space = subjects.study(twin, here.reporter)
    return throughput.evaluator_of(twin, space, found, twin.splits.search)


def search(here: Here, name: str) -> None:
    """A search of 600 evaluations, polished; its front and how fast it was."""
    sizes = {"population": 6, "generations": 2} if here.quick else {"population": 30, "generations": 20}
    options = here.options(name)
    began = time.monotonic()
    result = gaprune.search(
        options.pop("model"),
        options.pop("data"),
        output=here.run(name),
        polish=True,
        round_to=1,
        reporter=here.reporter,
        **sizes,
        **options,
    )
    seconds = time.monotonic() - began
    for file in ("front.csv", "front.png", "manifest.json", "evaluations.jsonl"):
        shutil.copy(result.path / file, here.home / file)
    lines = [json.loads(line) for line in (result.path / "evaluations.jsonl").read_text().splitlines()]
    spent = sum(float(line.get("seconds", 0)) for line in lines)
    rows = {f"{budget:g}": _row(member) for budget, member in _within(result.rows).items()}
    here.write(
        network=name,
        seconds=round(seconds, 1),
        evaluations=len(lines),
        seconds_of_candidates=round(spent, 2),
        members=len(result.rows),
        within=rows,
        peak_device_mb=_peak(),
    )


def _within(rows: Sequence[FrontRow]) -> dict[float, FrontRow | None]:
    rules = {budget: f"flops<={budget:g}" for budget in BUDGETS}
    found = members_within(list(rows), rules.values())
    return {budget: found[rule] for budget, rule in rules.items()}


def _row(member: FrontRow | None) -> dict[str, Any] | None:
    if member is None:
        return None
    names = ("index", "flops_share", "params", "search_accuracy", "test_accuracy", "trained_epochs")
    return {name: getattr(member, name) for name in names}


def _peak() -> float | None:
    return round(torch.cuda.max_memory_allocated() / 1e6) if torch.cuda.is_available() else None


def members(here: Here, name: str) -> None:
    """The best member within each budget, trained on with the original as teacher."""
    path, options = here.run(name), here.options(name)
    places = {key: options[key] for key in ("data_dir", "cache_dir", "checkpoint") if key in options}
    chosen = {budget: member for budget, member in _within(read_csv(path / CSV)).items() if member is not None}
    indices = sorted({member.index for member in chosen.values()})
    epochs = 1 if here.quick else _distilled_epochs(here, name, len(indices), least=5, most=60)
    rows: dict[str, Any] = {}
    for budget, member in chosen.items():
        tuned = gaprune.finetune(path, pick=str(member.index), epochs=epochs, reporter=here.reporter, **places)
        after = next(row for row in tuned.rows if row.index == member.index)
        rows[f"{budget:g}"] = {"before": _row(member.untrained()), "after": _row(after)}
        here.write(network=name, epochs=epochs, rows=rows, original=_original(path))


def _original(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())["original"]
    return found


def goals(here: Here, name: str) -> None:
    """The targets of ``gpu_goals.py``, from the baseline that was trained here."""
    options = here.options(name)
    setting = Setting(name, here.data().name, options, here.work / f"goals-{name}", here.reporter)
    targets = QUICK_TARGETS[:1] if here.quick else [target for target in TARGETS if target.model == name]
    sizes = {"population": 6, "generations": 2} if here.quick else {"population": 30, "generations": 10}
    epochs = 1 if here.quick else _distilled_epochs(here, name, len(targets), least=10, most=200)
    rows = []
    for target in targets:
        rows.append(reached(setting, target, {"epochs": epochs, **sizes}))
        here.write(network=name, epochs=epochs, **sizes, rows=rows)


def _distilled_epochs(here: Here, name: str, networks: int, *, least: int, most: int) -> int:
    """As many as fit into the step's time, for each of so many networks, by the time that the original takes."""
    data, device = here.data(), choose_device("auto")
    parts = split(data, search_size=held_out_size(data), calibration_size=1, seed=0)
    subject = Wanted(name, "cifar", data, parts.train, parts.search, device)
    lesson = Distillation(load_baseline(subject, here.weights(name)).model)
    each = _epoch_seconds(
        subject, new_network(subject, 0).to(device), default_recipe(name, data, device), lesson=lesson
    )
    return _epochs(here.seconds / networks, each, least=least, most=most)


def rates(here: Here, name: str) -> None:
    """Candidates a second, in this process and on Ray workers that share the card, with 2,000 and 8,000 images."""
    subject = here.subject(name)
    extent = scaling.QUICK if here.quick else scaling.Extent(candidates=16, turns=2)
    with pinned(torch.get_num_threads()):
        found, space = subjects.study(subject, here.reporter)
    rows: dict[str, Any] = {}
    for images in (subject.splits.search, subjects.first(subject.splits.test, 8_000)):
        evaluator = throughput.evaluator_of(subject, space, found, images)
        evaluator = throughput.variant(evaluator, half=bfloat16_pays(subject.device), folded=True)
        rows[f"{len(images)} images"] = scaling.rates_of(subject, evaluator, extent, (1,) if here.quick else (1, 4))
        larger = copy.copy(evaluator)
        larger.task = dataclasses.replace(evaluator.task, batch_size=LARGE_BATCH)
        rows[f"{len(images)} images, batches of {LARGE_BATCH}"] = scaling.rates_of(subject, larger, extent, ())
        here.write(network=name, rows=rows, peak_device_mb=_peak())


def speed(here: Here, name: str) -> None:
    """How many candidates a second against the plain way, and the share of their time outside forward passes."""
    subject = here.subject(name)
    extent = throughput.QUICK if here.quick else throughput.Extent(turns=1)
    with pinned(torch.get_num_threads()):
        found, space = subjects.study(subject, here.reporter)
        rows, memory, shares = throughput.compare(subject, space, found, extent, here.reporter)
    here.write(network=name, rows=rows, peak_mb=memory, flops_shares=shares, peak_device_mb=_peak())


MODES = ("float32", "tf32", "bfloat16")


def latency(here: Here, name: str) -> None:
    """Seconds of a batch of 1 and of 128: the original and members, by precision, eager and compiled."""
    device = choose_device("auto")
    baseline = here.subject(name)
    path = here.run(name)
    networks: dict[str, tuple[float, nn.Module]] = {"original": (1.0, baseline.model)}
    for budget, member in _within(read_csv(path / CSV)).items():
        if member is not None:
            networks[f"{budget:g}"] = (member.flops_share, gaprune.load(path / member.home).to(device))
    shape, rows = baseline.data.image_shape, []
    for compiled in (False, True):
        for label, (share, network) in networks.items():
            for batch in (1, 128):
                images = torch.randn((batch, *shape), device=device).contiguous(memory_format=torch.channels_last)
                for mode in MODES:
                    if compiled and (mode == "float32" or label not in ("original", "0.1")):
                        continue
                    seconds = _latency(network, images, mode, compiled)
                    rows.append(
                        {"member": label, "flops": share, "batch": batch, "precision": mode, "compiled": compiled}
                        | {"milliseconds": round(1e3 * seconds, 4)}
                    )
            here.write(network=name, device=str(device), rows=rows)


def _latency(network: nn.Module, images: torch.Tensor, mode: str, compiled: bool) -> float:
    network = network.eval().to(memory_format=torch.channels_last)
    backend = "inductor" if images.is_cuda else "aot_eager"  # which makes no C++, and takes no minutes
    run: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network, backend=backend) if compiled else network
    with _precision(mode, images.device), torch.inference_mode():
        run(images)
        return median_seconds(lambda: run(images), images.device)


@contextmanager
def _precision(mode: str, device: torch.device) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=mode == "tf32"),
            torch.autocast(device.type, torch.bfloat16, enabled=mode == "bfloat16"),
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def compared(here: Here, name: str) -> None:
    """The GPU column of the compared methods, whose rows are trained for a moment only: times, not accuracy."""
    from gaprune.compare import Options, compare, default_methods
    from gaprune.compress.ours import Front

    path, table = here.run(name), here.work / f"compared-{name}"
    methods = ("none", "tucker:size=0.6", "ours") if here.quick else default_methods(Front(path))
    places = {k: here.options(name)[k] for k in ("data_dir", "cache_dir") if k in here.options(name)}
    rows = compare(
        Options(
            run=path,
            methods=methods,
            epochs=1,
            epoch_images=64 if here.quick else 512,
            output=table,
            given=frozenset({"run", "methods", "epochs", "epoch_images", "output", *places}),
            **places,
        )
    )
    times = [{"chain": row.chain, "size_mb": row.size_mb, "flops": row.flops, "seconds": row.seconds} for row in rows]
    here.write(network=name, note="rows were trained for a moment: their times count, not their accuracy", rows=times)


def work(step: str, home: Path, work: Path, data_dir: Path | None, *, quick: bool, seconds: float) -> None:
    """Do a step in this process."""
    torch.set_float32_matmul_precision("highest")
    kind, _, name = step.partition("-")
    here = Here(home, work, data_dir, quick, seconds, make_reporter())
    alone: dict[str, Callable[[Here], None]] = {"tests": tests, "images": images}
    if kind == "smoke":
        from gpu_smoke import smoke

        smoke(here.home, here.work / "smoke", here.write)
    elif kind in alone:
        alone[kind](here)
    else:
        of_network = {
            "baseline": baseline,
            "agreement": agreement,
            "search": search,
            "members": members,
            "goals": goals,
            "rates": rates,
            "speed": speed,
            "latency": latency,
            "compared": compared,
        }
        of_network[kind](here, name)
