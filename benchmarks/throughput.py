"""How many candidates a second are judged, against the plain way; both sides in the same run, taking turns.

Claim: a candidate is judged ten times as quickly as in the plain way, with little time outside forward passes.
The plain way puts masks on a copy of the full network, recalibrates its batch norm on the same images, measures
it on the same search images in float32 and has fvcore trace it. Ours cuts, compensates, recalibrates, folds and
measures; candidates stand on the ladder from 60% to 10% of the FLOPs, and none is stopped early. Variants: float32
and bfloat16, batch norm folded or not; the figures are those of what a search does on this hardware. Also:
growth with the network's width and the number of search images, and peak memory.
"""

from __future__ import annotations

import argparse
import copy
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from benchmarks.harness import Goal, run
from benchmarks.subjects import SEED, Subject, add_arguments, load_subject, study
from gaprune.data import ImageSet, first
from gaprune.device import pinned
from gaprune.evaluate import Evaluator, FitnessTask, measure, resolve_objectives
from gaprune.evolve.initial import informed_member
from gaprune.evolve.ranked import rank
from gaprune.genome import Genome
from gaprune.models import build
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.statistics import Statistics, collect
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.norms.recalibration import recalibrate
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace
from gaprune.training import bfloat16_pays

GOALS = (
    Goal("speed-up", ">=", 10.0, "times the plain way"),
    Goal("time outside forward passes", "<=", 0.15, "of a candidate's time"),
)

PLAIN = "plain: masks on the full network"
VARIANTS = {
    f"gaprune: {precision}, {norms}": (precision == "bfloat16", norms == "folded")
    for precision in ("float32", "bfloat16")
    for norms in ("folded", "not folded")
}


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        budgets: shares of the FLOPs of the candidates.
        turns: times that every side judges every candidate, after one warm-up.
        widths: of VGG16, relative, for the growth.
        images: search images, for the growth.
        statistics: calibration images behind the growth's compensation, which decide no time of a candidate.
    """

    budgets: tuple[float, ...] = tuple(float(share) for share in np.linspace(0.6, 0.1, 8).round(4))
    turns: int = 2
    widths: tuple[float, ...] = (0.5, 1.0)
    images: tuple[int, ...] = (1_000, 2_000, 4_000)
    statistics: int = 512


QUICK = Extent(budgets=(0.6, 0.3), turns=1, widths=(0.0625, 0.125), images=(30, 60), statistics=40)

Side = Callable[[Genome], float]
"""Judges a candidate; its accuracy on the search set."""


def genomes(space: PruningSpace, budgets: tuple[float, ...]) -> list[Genome]:
    """One candidate a budget, on the ladder, as the first generation has them."""
    rng = np.random.default_rng(SEED)
    ranked = rank(space)
    return [space.layout.pack(informed_member(ranked, budget, rng)) for budget in budgets]


def evaluator_of(subject: Subject, space: PruningSpace, found: Statistics, search: ImageSet) -> Evaluator:
    """What a search judges candidates with, in float32."""
    mean, std = subject.norm
    task = FitnessTask(search, subject.recalibration, mean, std, len(subject.data.classes))
    compensator = Compensator(subject.model, subject.graph, found)
    objectives = resolve_objectives(("accuracy", "flops"))
    return Evaluator(subject.model, space, task, objectives, compensator, anchors=subject.anchors)


def variant(evaluator: Evaluator, *, half: bool, folded: bool) -> Evaluator:
    """The same evaluator in another precision, with or without folding."""
    other = copy.copy(evaluator)
    other.task = replace(evaluator.task, half=half)
    other.norms = evaluator.norms if folded else ()
    return other


def ours(evaluator: Evaluator) -> Side:
    """A candidate as a search judges it."""

    def side(genome: Genome) -> float:
        outcome = evaluator(genome)
        if outcome.failure is not None:
            raise RuntimeError(outcome.failure)
        return outcome.values["accuracy"]

    return side


def plain(subject: Subject, space: PruningSpace, search: ImageSet) -> Side:
    """Masks on a copy of the full network, recalibrated, measured in float32 and traced by fvcore."""

    def side(genome: Genome) -> float:
        network = masked_network(subject.model, subject.graph, space.masks(genome))
        recalibrate(network, subject.recalibration, *subject.norm)
        accuracy = measure(network, search, *subject.norm).accuracy
        count_flops(network, subject.data.image_shape)
        return accuracy

    return side


@contextmanager
def forward_seconds(device: torch.device) -> Iterator[list[float]]:
    """Fill the list with the seconds of each forward pass of a whole network."""
    spent: list[float] = []
    started: list[float] = []

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def before(module: nn.Module, arguments: Any) -> None:
        started.append(0.0 if started else now())

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        start = started.pop()
        if not started:
            spent.append(now() - start)

    handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def peak_megabytes() -> float:
    """The most memory that this process has held at once so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def share_outside(side: Side, chosen: list[Genome], device: torch.device) -> float:
    """Share of the time of all candidates that no forward pass takes."""
    with forward_seconds(device) as spent:
        start = time.perf_counter()
        for genome in chosen:
            side(genome)
        whole = time.perf_counter() - start
    return 1 - sum(spent) / whole


def timed(side: Side, genome: Genome) -> tuple[float, float]:
    """Seconds and accuracy of one candidate; every side ends by reading a number from the device."""
    start = time.perf_counter()
    accuracy = side(genome)
    return time.perf_counter() - start, accuracy


def compare(subject: Subject, space: PruningSpace, found: Statistics, extent: Extent, reporter: Reporter) -> Any:
    """Rows of all sides, and peak memory after each kind's first candidate."""
    search = subject.splits.search
    chosen = genomes(space, extent.budgets)
    whole = evaluator_of(subject, space, found, search)
    sides = {name: ours(variant(whole, half=h, folded=f)) for name, (h, f) in VARIANTS.items()}
    sides[PLAIN] = plain(subject, space, search)
    memory = {"before": peak_megabytes()}
    for name, side in sides.items():  # warm-up with the largest; the plain way comes last
        side(chosen[0])
        memory["plain" if name == PLAIN else "gaprune"] = peak_megabytes()
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in chosen] for name in sides}
    accuracy: dict[str, dict[int, float]] = {name: {} for name in sides}
    with reporter.task("taking turns", extent.turns * len(chosen) * len(sides)) as task:
        for _ in range(extent.turns):
            for index, genome in enumerate(chosen):
                for name, side in sides.items():
                    taken, accuracy[name][index] = timed(side, genome)
                    seconds[name][index].append(taken)
                    task.advance(1)
    medians = {name: [statistics.median(each) for each in taken] for name, taken in seconds.items()}
    rows = [
        {
            "side": name,
            "candidates_per_second": round(len(chosen) / sum(medians[name]), 4),
            "speed_up": round(sum(medians[PLAIN]) / sum(medians[name]), 3),
            "outside_forward": None if name == PLAIN else round(share_outside(side, chosen, subject.device), 4),
            "seconds": [round(taken, 4) for taken in medians[name]],
            "accuracy": [round(accuracy[name][index], 4) for index in range(len(chosen))],
        }
        for name, side in sides.items()
    ]
    return rows, memory, [round(space.cost(space.layout.unpack(genome)), 4) for genome in chosen]


def vgg16(width: float, classes: int) -> nn.Module:
    """VGG16 with all widths scaled, untrained: time does not depend on the weights."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in build("vgg16", classes).features:  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            out = round(layer.out_channels * width)
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out)]
            channels = out
        elif not isinstance(layer, nn.BatchNorm2d):
            layers.append(layer)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)).eval()


def resized(subject: Subject, width: float) -> Subject:
    """The same images, and an untrained VGG16 of another width."""
    torch.manual_seed(SEED)
    model = vgg16(width, len(subject.data.classes)).to(subject.device)
    graph = checked_graph(model, subject.data.image_shape)
    costs = cost_model(model, graph, subject.data.image_shape)
    return replace(subject, model=model, graph=graph, costs=costs)


def growth(
    subject: Subject, space: PruningSpace, found: Statistics, extent: Extent, half: bool, reporter: Reporter
) -> list[dict[str, Any]]:
    """Seconds of a candidate by the network's width and by the number of search images, as a search judges it."""
    rows = []
    with reporter.task("growth", len(extent.widths) + len(extent.images)) as task:
        for width in extent.widths:
            other = resized(subject, width)
            images = first(subject.splits.calibration, extent.statistics)
            known = collect(other.model, other.graph, images, *subject.norm)
            form = PruningSpace(other.graph, other.costs, l2(other.model, other.graph))
            evaluator = evaluator_of(other, form, known, subject.splits.search)
            rows.append({"width of an untrained vgg16": width, **_grown(evaluator, form, extent, half)})
            task.advance(1)
        whole = evaluator_of(subject, space, found, subject.splits.test)
        for count in extent.images:
            evaluator = copy.copy(whole)
            evaluator.task = replace(whole.task, search=first(subject.splits.test, count))
            rows.append({"search images": len(evaluator.task.search), **_grown(evaluator, space, extent, half)})
            task.advance(1)
    return rows


def _grown(evaluator: Evaluator, space: PruningSpace, extent: Extent, half: bool) -> dict[str, float]:
    chosen = genomes(space, extent.budgets)
    side = ours(variant(evaluator, half=half, folded=True))
    side(chosen[-1])
    taken = [timed(side, genome)[0] for genome in chosen]
    outside = share_outside(side, chosen, evaluator.task.search.images.device)
    return {"seconds": round(statistics.mean(taken), 4), "outside_forward": round(outside, 4)}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one subject, and the growth."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    extent = QUICK if options.quick else Extent()
    half = bfloat16_pays(subject.device)
    threads = torch.get_num_threads()
    with pinned(threads):
        found, space = study(subject, reporter)
        rows, memory, shares = compare(subject, space, found, extent, reporter)
        grown = growth(subject, space, found, extent, half, reporter)
    used = f"gaprune: {'bfloat16' if half else 'float32'}, folded"
    (row,) = (row for row in rows if row["side"] == used)
    cuda = {"peak_device_mb": torch.cuda.max_memory_allocated() / 1e6} if subject.device.type == "cuda" else {}
    return {
        "data": subject.name,
        "device": subject.device.type,
        "threads": threads,
        "seed": SEED,
        "turns": extent.turns,
        "search_images": len(subject.splits.search),
        "recalibration_images": len(subject.recalibration),
        "in_a_search": used,
        "flops_shares": shares,
        "figures": {"speed-up": row["speed_up"], "time outside forward passes": row["outside_forward"]},
        "rows": rows,
        "growth": grown,
        "peak_mb": memory | cuda,
    }


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure_all, arguments=add_arguments))
