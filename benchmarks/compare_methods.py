"""Quantization, Tucker, distillation and pruning, alone and in chains, against and with gaprune's networks.

Claim: at every size, some chain with gaprune's network is at least as accurate as every chain without. All start from
one checkpoint, spend the same passes over the training images with the same loss (labels and the original's logits),
and are measured alike: files that ship, loaded again, top-1 on the test images; times are medians after warm-up.
The members come from a search (``--run``), or from one with the options below that is made first.

Rows are kept in ``--work``, so a killed run goes on where it stopped. ``python -m gaprune.compare`` is what runs.

    python benchmarks/compare_methods.py --data-dir DIR --run RUN
    python benchmarks/compare_methods.py --data-dir DIR --model resnet18 --stem imagenet --run RUN
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.harness import Goal, at_least, pathless, run
from benchmarks.subjects import load_subject, small_network
from gaprune.commands.compare import CompareOptions, compare_as, default_methods
from gaprune.commands.search import search
from gaprune.compress.ours import Front
from gaprune.compress.rows import Row, slug, unmatched
from gaprune.compress.table import BY_SIZE, BY_TIME, JSON, MARKDOWN
from gaprune.device import choose_device
from gaprune.progress import SILENT, Reporter, make_reporter
from gaprune.runs import read_manifest
from gaprune.runs.directory import MANIFEST_NAME

SEARCH = {"population": 24, "generations": 20, "polish": True}
QUICK_SEARCH = {"population": 4, "generations": 2, "calibration_size": 64, "statistics_size": 64}
QUICK_METHODS = (
    "none",
    "quantize",
    "tucker:size=0.6",
    "prune:l1+quantize",
    "distill:thin=0.3",
    "ours",
    "ours+quantize",
)
QUICK_MODEL = "compare_methods:quick_network"

MATCHED = "chains without gaprune's network that one with it matches"
QUANTIZED = "accuracy that quantization costs"
FASTER = "batch of 128, quantized against float32 in ONNX Runtime"
WINS = "accuracy at most a tenth of the size, with gaprune's network less the best without"

GOALS = tuple(
    Goal(f"{network}: {name}", comparison, number, unit)
    for network in ("vgg16", "resnet18")
    for name, comparison, number, unit in (
        (MATCHED, ">=", 100.0, "%"),
        (WINS, ">=", 0.0, "points"),
        (QUANTIZED, "<=", 0.5, "points"),
        (FASTER, ">=", 1.5, "times"),
    )
)


def quick_network(num_classes: int) -> nn.Module:
    """The network of a smoke run, by a name that commands take."""
    return small_network(num_classes)


def figures_of(network: str, rows: list[Row], failures: Collection[str] = ()) -> dict[str, float]:
    """The figures that goals speak of, as far as the rows tell.

    Args:
        network: its name.
        rows: of the table.
        failures: chains that have no row; how many chains are matched is not told without them.
    """
    by_chain = {row.chain: row for row in rows}
    found: dict[str, float] = {}
    others = [row for row in rows if not row.ours and row.chain != "none"]
    ours = [row for row in rows if row.ours]
    if others and ours and not failures:
        found[MATCHED] = 100 * (1 - len(unmatched(rows)) / len(others))
    if "none" in by_chain:
        limit = by_chain["none"].size_mb / 10
        best = [max((_accuracy(row) for row in side if row.size_mb <= limit), default=None) for side in (ours, others)]
        if best[0] is not None and best[1] is not None:
            found[WINS] = best[0] - best[1]
    if {"none", "quantize"} <= by_chain.keys():
        found[QUANTIZED] = _accuracy(by_chain["none"]) - _accuracy(by_chain["quantize"])
    if {"onnx", "quantize"} <= by_chain.keys():
        seconds = [by_chain[chain].seconds["cpu 128"] for chain in ("onnx", "quantize")]
        if seconds[0] is not None and seconds[1] is not None:
            found[FASTER] = seconds[0] / seconds[1]
    return {f"{network}: {name}": value for name, value in found.items()}


def _accuracy(row: Row) -> float:
    """Points."""
    return 100 * row.metrics["accuracy"]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Search if there is no run, compare, and say what came of it."""
    at_least(options, epochs=1, epoch_images=2, threads=1)
    reporter = SILENT if options.quick else make_reporter()
    network = network_name(options)
    work = options.work or options.output / f".compare_methods-{network}"
    work.mkdir(parents=True, exist_ok=True)
    path = options.run or _searched(options, work / "search", reporter)
    manifest = read_manifest(path)
    table = work / "table"
    given = CompareOptions.of(
        run=path,
        trust=options.quick,  # whose network is of this module
        data_dir=options.data_dir,
        methods=QUICK_METHODS if options.quick else default_methods(Front(path)),
        epochs=1 if options.quick else options.epochs,
        epoch_images=None if options.quick else options.epoch_images,
        threads=1 if options.quick else options.threads,
        output=table,
        given=frozenset({"data_dir"} if options.data_dir else ()),
    )
    if (table / MANIFEST_NAME).exists():
        typed = {"methods", "run", "epochs", "epoch_images"} | given.given  # what differs from the table is refused
        typed |= {"threads"} if given.machine.threads else set()
        given = given.but(resume=table, given=frozenset(typed))
    rows = compare_as(given)
    failures = json.loads((table / JSON).read_text())["failures"]
    name, device = f"{network}-{manifest['data']['name']}", choose_device("auto").type
    for picture in (BY_SIZE, BY_TIME):
        axis = Path(picture).stem.removeprefix("accuracy-")
        shutil.copy(table / picture, options.output / f"compare_methods-{name}-{device}-{axis}{_quick(options)}.png")
    shutil.copy(table / MARKDOWN, options.output / f"compare_methods-{name}-{device}{_quick(options)}.md")
    if options.quick:
        for made in (work / "search", table):
            shutil.rmtree(made)
        (work / "weights.safetensors").unlink()
        with suppress(OSError):  # a folder that was named may hold more
            work.rmdir()
    return {
        "data": name,
        "device": device,
        "figures": figures_of(manifest["options"]["model"], rows, failures),
        "rows": [dataclasses.asdict(row) for row in rows],
        "failures": failures,
        "unmatched": [row.chain for row in unmatched(rows)],
        "epochs": given.work.epochs,
        "epoch_images": given.work.epoch_images,
        "threads": given.machine.threads or torch.get_num_threads(),
        "baseline": pathless(manifest["baseline"]),
        "search": {name: manifest["options"][name] for name in (*SEARCH, "objectives")}
        | {"evaluations": manifest.get("evaluations")},
    }


def _searched(options: argparse.Namespace, path: Path, reporter: Reporter) -> Path:
    """A search of the network, made now or resumed."""
    if options.quick:
        subject = load_subject(options, reporter)
        weights = path.parent / "weights.safetensors"
        save_file(subject.model.state_dict(), weights)
        given: dict[str, Any] = {**QUICK_SEARCH, "checkpoint": weights, "threads": 1, "search_size": 60}
        search(QUICK_MODEL, "digits", output=path, reporter=reporter, **given)
        return path
    if (path / MANIFEST_NAME).exists():
        search(options.model, "auto", stem=options.stem, resume=path, reporter=reporter)
        return path
    places = {name: getattr(options, name) for name in ("data_dir", "checkpoint") if getattr(options, name) is not None}
    search(options.model, "auto", stem=options.stem, output=path, reporter=reporter, **places, **SEARCH)
    return path


def network_name(options: argparse.Namespace) -> str:
    """What files are called after: the run's network where there is a run, else the one that ``--model`` names."""
    if options.run is not None:
        saved = read_manifest(options.run)["options"]
        model, stem = saved["model"], saved["stem"]
    elif options.quick:
        return "small"
    else:
        model, stem = options.model, options.stem
    return slug(model) + ("-imagenet" if model == "resnet18" and stem == "imagenet" else "")


def _quick(options: argparse.Namespace) -> str:
    return "-quick" if options.quick else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--model", default="vgg16", choices=("vgg16", "resnet18"), help="without --run")
    parser.add_argument("--stem", default="cifar", choices=("cifar", "imagenet"), help="of resnet18, without --run")
    parser.add_argument("--checkpoint", type=Path, help="trained weights; default: shipped, cached or trained now")
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10 as torchvision or as an image folder has it")
    parser.add_argument("--run", type=Path, help="a finished search, which brings its network; default: one is made")
    parser.add_argument("--work", type=Path, help="where rows are kept; default: beside the results")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training images that a row may spend")
    parser.add_argument("--epoch-images", type=int, help="of each pass, drawn anew; default: all training images")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's own number")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=add_arguments))
