"""Does a network with fewer FLOPs take less time, and does the table of layers know how much?

Claims: networks that the table was not corrected by are missed by less than 10% (median), in each runtime and at each
batch; and the speed-up that is measured is at least 0.8 of the ratio of FLOPs, down to 20% of them.

Twelve networks of each original keep 10 to 100% of their widths, bent at random so that no two narrow alike; eight
correct the table, four are told by it. A network and its original are timed in turn, and what counts is the share, so
that a busy machine disturbs little; the load of the machine stands beside the result. Weights are random, as times do
not depend on them.

    python benchmarks/latency.py --model resnet18

Whether a front that is searched by latency is ahead of one that is searched by FLOPs is not measured here yet.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Goal, at_least, run
from gaprune.models import build
from gaprune.progress import Reporter, make_reporter
from gaprune.prune import Masks, build_graph, cost_model, fold
from gaprune.runs import processor
from gaprune.runtimes import Conditions, Stopwatch, TableClock, fit_correction, sums
from gaprune.session.layer_table import FITTED, HELD_OUT, layer_times, some_networks, whole_times

IMAGE = (3, 32, 32)
RUNTIMES, BATCHES = ("torch", "onnxruntime"), (1, 128)
LEAST_FLOPS = 0.2
GOALS = (
    *(
        Goal(f"error on unseen networks, {runtime}, batch {batch}", "<=", 10.0, "%")
        for runtime in RUNTIMES
        for batch in BATCHES
    ),
    *(Goal(f"least speed-up over ratio of FLOPs, {runtime}, batch 128", ">=", 0.8, "times") for runtime in RUNTIMES),
)

Row = dict[str, Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The script's own options."""
    parser.add_argument("--model", default="vgg16", choices=("vgg16", "resnet18"), help="form of the original")
    parser.add_argument("--runtimes", nargs="+", default=list(RUNTIMES), help="what runs the networks")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), help="images of a batch")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time networks in each runtime, at each batch."""
    at_least(options, batches=1, threads=1)
    reporter = make_reporter()
    rows: list[Row] = []
    loads = [os.getloadavg()[0]]
    runtimes, batches = (["torch"], [1]) if options.quick else (options.runtimes, options.batches)
    for runtime in runtimes:
        for batch in batches:
            conditions = Conditions(runtime, batch, options.threads, "cpu", processor())
            rows += rows_of(options.model, conditions, options.output / "tables", reporter)
            loads.append(os.getloadavg()[0])
    return {
        "data": f"{options.model}-cifar",
        "device": "cpu",
        "threads": options.threads,
        "load_average": [round(load, 1) for load in loads],
        "versions": {"onnxruntime": importlib.metadata.version("onnxruntime")},
        "figures": figures_of(rows),
        "rows": rows,
    }


def rows_of(model: str, conditions: Conditions, cache: Path, reporter: Reporter) -> list[Row]:
    """One row a network: its FLOPs, its time, and what the table says of it."""
    torch.manual_seed(0)
    original = build(model, 10, stem="cifar").eval()
    graph = build_graph(original, IMAGE)
    costs = cost_model(original, graph, IMAGE)
    whole = build(model, 10, stem="cifar").eval()
    fold(whole, graph.norms)
    images = torch.randn(conditions.batch, *IMAGE)
    stopwatch = Stopwatch(whole, images, conditions)
    grids = layer_times(conditions, original, graph, images, 1, cache, reporter)
    networks = some_networks(graph, 1)
    seconds = np.array(whole_times(stopwatch, original, graph, networks, reporter))
    told = np.array([sums(graph.layers, grids, masks) for masks in networks])
    clock = TableClock(stopwatch, graph.layers, grids, fit_correction(told[:, 0], told[:, 1], seconds, HELD_OUT))
    everything = costs.flops(Masks.full(graph))
    return [
        {
            "runtime": conditions.runtime,
            "batch": conditions.batch,
            "unseen": number >= FITTED,
            "flops_share": round(costs.flops(masks) / everything, 5),
            "share": round(float(taken / stopwatch.reference), 5),
            "told_share": round(clock.share(masks), 5),
            "original_ms": round(1e3 * stopwatch.reference, 4),
        }
        for number, (masks, taken) in enumerate(zip(networks, seconds, strict=True))
    ]


def figures_of(rows: list[Row]) -> dict[str, float]:
    """What goals speak of, and the same at other batches."""
    found = {}
    for runtime, batch in dict.fromkeys((row["runtime"], row["batch"]) for row in rows):
        mine = [row for row in rows if (row["runtime"], row["batch"]) == (runtime, batch)]
        errors = [abs(row["told_share"] / row["share"] - 1) for row in mine if row["unseen"]]
        found[f"error on unseen networks, {runtime}, batch {batch}"] = round(100 * float(np.median(errors)), 2)
        paid = [row["flops_share"] / row["share"] for row in mine if LEAST_FLOPS <= row["flops_share"] < 1]
        if paid:
            found[f"least speed-up over ratio of FLOPs, {runtime}, batch {batch}"] = round(min(paid), 3)
    return found


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
