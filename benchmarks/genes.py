"""Do connection genes pay? Neurons, connections and both, at equal FLOPs, equal evaluations, and equal latency.

Claim to test: at the same FLOPs (fvcore's, a convolution's share scaled by its kept kernels) and after the same number
of evaluations, networks that may also lose kernels are at least as accurate as networks that only lose neurons; and
where connections are tied into real grouped convolutions, so that they save time, they are so at the same measured
latency.

All sides: the same network, NSGA-II as gaprune runs it, evaluations, seed, images and recalibration, no training. One
seed: differences of a point say nothing.
Free kernels are re-solved over channels, row by row, neurons over channels x taps: that is what gaprune has for them.
Accuracy at a budget: of the candidate within it that is best on the search images, measured on test images. Latency:
median of one forward pass of the compact network, channels last, single precision, all networks taking turns after
warm-up, as a share of the original's; twelve members of each front, evenly along it.

    python benchmarks/genes.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, run
from benchmarks.search_methods import Judge, Recorder, searched
from benchmarks.subjects import Subject, WorkFile, add_arguments, code_digest, fixed_sample, load_subject
from gaprune.data import first
from gaprune.evolve import NSGA2
from gaprune.genome import Genome
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.statistics import Statistics, collect, consumers, images_wanted
from gaprune.prune.rank.registry import importance_function
from gaprune.prune.space import PruningSpace, SpaceOptions

EVALUATIONS = 150
POPULATION = 25
IMAGES = 1_000
OTHERS = 4_000
BUDGETS = (0.5, 0.25, 0.1, 0.05)
LATENCIES = (0.7, 0.5, 0.35)
TIMED = 12
TURNS = 15
WARM_UP = 3
BATCH = 128
QUICK = {"evaluations": 24, "population": 8, "images": 120, "others": 200, "timed": 4, "turns": 2}


@dataclass(frozen=True)
class Kind:
    """What may be removed.

    Attributes:
        name: in rows and goals.
        options: of the genomes' layout.
    """

    name: str
    options: SpaceOptions

    @property
    def free_kernels(self) -> bool:
        """Whether single kernels may go."""
        return self.options.genes != "neurons" and self.options.connection_groups == 1


KINDS = (
    Kind("neurons", SpaceOptions("neurons")),
    Kind("connections", SpaceOptions("connections")),
    Kind("both", SpaceOptions("both")),
    Kind("both, 2 groups", SpaceOptions("both", 1, 2)),
    Kind("both, 4 groups", SpaceOptions("both", 1, 4)),
)

GOALS = (
    Goal("both over neurons, 10% of the FLOPs", ">=", 0.0, "points of test accuracy"),
    Goal("connections over neurons, 50% of the FLOPs", ">=", 0.0, "points of test accuracy"),
    Goal("best grouped over neurons, 50% of the latency", ">=", 0.0, "points of test accuracy"),
)

Row = dict[str, Any]


def all_statistics(subject: Subject, reporter: Reporter) -> Statistics:
    """Of the original's consumers, with patches."""
    images = first(subject.splits.calibration, images_wanted(consumers(subject.model, subject.graph)))
    return collect(subject.model, subject.graph, images, *subject.norm, reporter=reporter)


def front_of(judge: Recorder, space: PruningSpace, seed: int, settings: Row) -> list[Genome]:
    """Search, and the non-dominated genomes, dearest last."""
    algorithm = NSGA2(space, population=settings["population"], seed=seed)
    for _ in searched(algorithm, judge, settings["evaluations"]):
        pass
    return algorithm.front()[0][::-1]


def at_budgets(judge: Judge, asked: list[tuple[Genome, Any]]) -> Row:
    """Test accuracy and latency candidate by budget of FLOPs, of what is best on the search images."""
    told = np.array([values for _, values in asked])
    found = {}
    for budget in BUDGETS:
        within = np.flatnonzero(told[:, 1] <= budget)
        if len(within):
            best = int(within[np.argmin(told[within, 0])])
            found[f"{budget:.0%}"] = {
                "search": round(1 - float(told[best, 0]), 4),
                "test": round(judge.test(asked[best][0]), 4),
                "flops_share": round(float(told[best, 1]), 4),
            }
    return found


def thinned(front: list[Genome], count: int) -> list[Genome]:
    """``count`` of a front at even steps, both ends included."""
    places = np.unique(np.linspace(0, len(front) - 1, count).round().astype(int))
    return [front[place] for place in places]


def latencies(networks: list[nn.Module], shape: tuple[int, ...], turns: int, device: torch.device) -> list[float]:
    """Median seconds of one forward pass of each network, all taking turns."""
    images = torch.randn((BATCH, *shape), device=device).contiguous(memory_format=torch.channels_last)
    seconds: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for turn in range(WARM_UP + turns):
            for network, taken in zip(networks, seconds, strict=True):
                start = time.perf_counter()
                network(images)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn >= WARM_UP:
                    taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def timed(subject: Subject, judges: dict[str, Judge], fronts: dict[str, list[Genome]], settings: Row) -> list[Row]:
    """Latency and accuracy of some members of each front, as shares of the original's latency."""
    chosen = [(name, genome) for name, front in fronts.items() for genome in thinned(front, settings["timed"])]
    networks = [judges[name].evaluator.network(genome) for name, genome in chosen]
    original = subject.model.to(memory_format=torch.channels_last)
    found = latencies([original, *networks], subject.data.image_shape, settings["turns"], subject.device)
    rows = []
    for (name, genome), seconds in zip(chosen, found[1:], strict=True):
        values = judges[name](genome)
        rows.append(
            {
                "kind": name,
                "latency_share": round(seconds / found[0], 4),
                "flops_share": round(float(values[1]), 4),
                "search": round(1 - float(values[0]), 4),
                "test": round(judges[name].test(genome), 4),
            }
        )
    return rows


def within_latency(rows: list[Row]) -> Row:
    """By kind and latency, the test accuracy of the member within it that is best on the search images."""
    found: Row = {}
    for name in dict.fromkeys(row["kind"] for row in rows):
        found[name] = {}
        for limit in LATENCIES:
            fast = [row for row in rows if row["kind"] == name and row["latency_share"] <= limit]
            if fast:
                found[name][f"{limit:.0%}"] = max(fast, key=lambda row: row["search"])["test"]
    return found


def figures_of(by_kind: dict[str, Row], by_latency: Row) -> dict[str, float]:
    """The figures that goals speak of; a side with nothing within a budget counts as 0."""

    def test(kind: str, budget: str) -> float:
        return float(by_kind[kind]["accuracy"].get(budget, {"test": 0.0})["test"])

    grouped = [by_latency[name].get("50%", 0.0) for name in by_latency if name.endswith("groups")]
    return {
        "both over neurons, 10% of the FLOPs": round(100 * (test("both", "10%") - test("neurons", "10%")), 3),
        "connections over neurons, 50% of the FLOPs": round(
            100 * (test("connections", "50%") - test("neurons", "50%")), 3
        ),
        "best grouped over neurons, 50% of the latency": round(
            100 * (max(grouped) - by_latency["neurons"].get("50%", 0.0)), 3
        ),
    }


def draw(path: Path, rows: list[Row], title: str) -> None:
    """Test accuracy against FLOPs and against latency, by kind of gene."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (axis, label) in enumerate((("flops_share", "FLOPs left, %"), ("latency_share", "latency, %")), start=1):
        axes = figure.add_subplot(1, 2, place)
        for name in dict.fromkeys(row["kind"] for row in rows):
            points = sorted((100 * row[axis], 100 * row["test"]) for row in rows if row["kind"] == name)
            axes.plot(*zip(*points, strict=True), "o-", ms=3, label=name)
        axes.set(xlabel=label, ylabel="test accuracy, %")
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=130)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One search a kind of gene, then the clock."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    full = (EVALUATIONS, POPULATION, IMAGES, OTHERS, TIMED, TURNS)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else full, strict=True)) | {"seed": options.seed}
    identity = subject.identity | {"images": settings["images"], "others": settings["others"], "code": code_digest()}
    work = WorkFile(options.output / f".genes-{subject.name}.jsonl", identity)
    found = all_statistics(subject, reporter)
    compensator = Compensator(subject.model, subject.graph, found)
    images = fixed_sample(subject.splits.search, settings["images"])
    others = fixed_sample(subject.splits.test, settings["others"])
    judges, fronts, by_kind = dict[str, Judge](), dict[str, list[Genome]](), dict[str, Row]()
    worths: dict[bool, Any] = {}
    with reporter.task("searches", len(KINDS)) as task:
        for kind in KINDS:
            if kind.free_kernels not in worths:
                worths[kind.free_kernels] = importance_function("obs")(
                    subject.model, subject.graph, found, kernels=kind.free_kernels
                )
            space = PruningSpace(subject.graph, subject.costs, worths[kind.free_kernels], kind.options)
            judges[kind.name] = Judge(subject, space, compensator, images, others, work, f"{kind.name} ")
            recorder = Recorder(judges[kind.name])
            fronts[kind.name] = front_of(recorder, space, options.seed, settings)
            by_kind[kind.name] = {"accuracy": at_budgets(judges[kind.name], recorder.asked)}
            task.advance(1, kind=kind.name)
    rows = timed(subject, judges, fronts, settings)
    suffix = "-quick" if options.quick else ""
    picture = options.output / f"genes-{subject.name}-{subject.device.type}{suffix}.png"
    draw(picture, rows, f"{subject.name}: {settings['evaluations']} evaluations a kind of gene, no training")
    by_latency = within_latency(rows)
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "precision": subject.precision},
        "figures": figures_of(by_kind, by_latency),
        "by_flops": by_kind,
        "by_latency": by_latency,
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, and the seed."""
    add_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the searches")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
