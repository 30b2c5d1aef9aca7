"""What 8 bits cost and gain, with ranges that no x86 processor saturates: the original, and its quantized file.

Claim: quantized, a network loses at most half a point, and a batch of 128 runs 1.5 times as fast as in float32 in the
same runtime. Weights keep to 7 of the 8 bits where they are multiplied, so the accuracy is one that every processor
gets; times belong to the processor that the result names. Nothing is trained; accuracies are of
all test images. ``python -m gaprune.compare`` is what runs.

    python benchmarks/eight_bits.py --data-dir DIR
    python benchmarks/eight_bits.py --data-dir DIR --model resnet18 --stem imagenet
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from typing import Any

from safetensors.torch import save_file

from benchmarks.harness import Goal, at_least, run
from benchmarks.subjects import add_arguments, load_subject
from gaprune.commands.compare import CompareOptions, compare_as
from gaprune.compress.rows import Row
from gaprune.progress import SILENT, make_reporter
from gaprune.runs import processor

METHODS = ("none", "onnx", "quantize")
QUICK_MODEL = "compare_methods:quick_network"

COST, FASTER = "accuracy that 8 bits cost", "batch of 128, 8 bits against float32 in ONNX Runtime"

GOALS = tuple(
    Goal(f"{network}: {name}", comparison, number, unit)
    for network in ("vgg16", "resnet18")
    for name, comparison, number, unit in ((COST, "<=", 0.5, "points"), (FASTER, ">=", 1.5, "times"))
)


def figures_of(network: str, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of."""
    by_chain = {row.chain: row for row in rows}
    none, onnx, eight = (by_chain[chain] for chain in METHODS)
    found = {f"{network}: {COST}": round(100 * (none.metrics["accuracy"] - eight.metrics["accuracy"]), 3)}
    seconds = onnx.seconds["cpu 128"], eight.seconds["cpu 128"]
    if seconds[0] is not None and seconds[1] is not None:
        found[f"{network}: {FASTER}"] = round(seconds[0] / seconds[1], 3)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The three rows of one network."""
    at_least(options, threads=1)
    reporter = SILENT if options.quick else make_reporter()
    work = options.output / f".eight_bits-{options.model}-{options.stem}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    given: dict[str, Any] = {"model": options.model, "stem": options.stem, "data_dir": options.data_dir}
    name, data = f"{options.model}{'-imagenet' if _is_7x7(options) else ''}", "cifar10"
    if options.quick:
        subject = load_subject(options, reporter)
        weights = work / "weights.safetensors"
        save_file(subject.model.state_dict(), weights)
        given = {"model": QUICK_MODEL, "data": "digits", "checkpoint": weights}
        name, data = "small", "digits"
    elif options.checkpoint is not None:
        given["checkpoint"] = options.checkpoint
    given = {key: value for key, value in given.items() if value is not None}
    typed = given | {"methods": METHODS, "threads": options.threads, "output": work / "table"}
    rows = compare_as(CompareOptions.of(**typed, given=frozenset(typed)))
    shutil.rmtree(work)
    return {
        "data": f"{name}-{data}",
        "device": "cpu",
        "threads": options.threads,
        "processor": processor(),
        "figures": figures_of(options.model, rows),
        "rows": [dataclasses.asdict(row) for row in rows],
    }


def _is_7x7(options: argparse.Namespace) -> bool:
    return bool(options.model == "resnet18" and options.stem == "imagenet")


def arguments(parser: argparse.ArgumentParser) -> None:
    """The network, and on how many threads times are taken."""
    add_arguments(parser)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
