"""What Ray adds and what it costs: candidates a second by workers, and schedules against the best possible ones.

Two parts. *Rates*: one generation of real candidates in this process, and on 1, 2 and more workers as far as there are
cores or GPUs; what a candidate costs beyond its own time, and how long workers take to start. *Scheduling*: real Ray
workers that sleep instead of evaluating, so that many fit on few cores: 100 ms on average, spread as the FLOPs of a
real first generation of VGG16 are, with 10% that the scheduler cannot know. Claim: with populations of four times the
workers a generation takes at most 1/0.95 of the best possible schedule's time, and the driver spends less than 2 ms a
candidate. The best possible schedule is not computed: a bound stands in for it (no worker idle before the end, or
the longest candidate alone), which no schedule can beat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Goal, run
from benchmarks.subjects import SEED, Subject, add_arguments, load_subject, study
from benchmarks.throughput import evaluator_of, genomes
from gaprune.cluster.dispatch import Dispatcher, Use
from gaprune.cluster.session import Needs, connect
from gaprune.device import pinned
from gaprune.evaluate import Backend, Evaluator, LocalBackend
from gaprune.evolve import make_algorithm
from gaprune.genome import Floats
from gaprune.models import build
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.costs import cost_model
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace

LEAST_EFFICIENCY, MOST_MILLISECONDS = 0.95, 2.0
CREWS = (8, 32, 64)

GOALS = tuple(
    goal
    for crew in CREWS
    for goal in (
        Goal(f"efficiency of {crew} workers", ">=", LEAST_EFFICIENCY, "of the best possible schedule"),
        Goal(f"driver time with {crew} workers", "<=", MOST_MILLISECONDS, "ms a candidate"),
    )
)

PARTS = ("all", "rates", "scheduling")


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        crews: numbers of sleeping workers.
        mean: seconds that a stand-in sleeps on average.
        generations: of stand-ins, after one for warming up.
        candidates: real ones a generation.
        turns: generations of real candidates, after one for warming up.
    """

    crews: tuple[int, ...] = CREWS
    mean: float = 0.1
    generations: int = 5
    candidates: int = 24
    turns: int = 2


QUICK = Extent(crews=(2,), mean=0.02, generations=1, candidates=4, turns=1)


def cost_spread(count: int) -> Floats:
    """(count,) FLOPs of the candidates of a first generation of VGG16, of which none is above 1."""
    model = build("vgg16", 10).eval()
    shape = (3, 32, 32)
    graph = checked_graph(model, shape)
    space = PruningSpace(graph, cost_model(model, graph, shape), l2(model, graph))
    asked = make_algorithm("nsga2", space, objectives=2, population=count, seed=SEED).ask()
    return np.array([space.cost(space.layout.unpack(genome)) for genome in asked])


def sleeper() -> Callable[[], Callable[[float], float]]:
    """What makes a stand-in worker's function; it travels by value and imports nothing of ours."""

    def make() -> Callable[[float], float]:
        import time

        def work(seconds: float) -> float:
            time.sleep(seconds)
            return seconds

        return work

    return make


def bound(seconds: Floats, workers: int) -> float:
    """Seconds that no schedule can beat."""
    return max(float(seconds.sum()) / workers, float(seconds.max()))


@contextmanager
def own_ray(workers: int, gpus: float = 0.0) -> Iterator[None]:
    """A Ray on this machine with room for so many workers."""
    session = connect(None, Needs(1, gpus), workers)
    try:
        yield
    finally:
        session.close()


def schedule(extent: Extent, reporter: Reporter) -> list[dict[str, Any]]:
    """Rows of crews of sleeping workers."""
    from gaprune.cluster.crew import RayCrew

    rows = []
    with reporter.task("sleeping", len(extent.crews)) as task:
        for size in extent.crews:
            with own_ray(size):
                crew = RayCrew(sleeper(), Needs(1), size)
                start = time.perf_counter()
                dispatcher = Dispatcher(crew, 0)
                dispatcher.muster(size)
                list(dispatcher.run([0.0] * size * 4, [0.0] * size * 4))  # until all are there
                while len(crew) < size:
                    list(dispatcher.run([0.01] * size * 4, [0.0] * size * 4))
                started = time.perf_counter() - start
                rows.append(
                    {"workers": size, "start_up_seconds": round(started, 2), **_slept(dispatcher, size, extent)}
                )
                crew.close()
            task.advance(1)
    return rows


def _slept(dispatcher: Dispatcher, size: int, extent: Extent) -> dict[str, Any]:
    """Efficiency and driver time of some generations of one crew."""
    costs = cost_spread(4 * size)
    dispatcher.use = Use()
    rng = np.random.default_rng(SEED)
    efficiencies, processor, wall = [], [], []
    for _ in range(extent.generations):
        seconds = costs / costs.mean() * extent.mean * rng.uniform(0.9, 1.1, len(costs))
        start, used = time.perf_counter(), time.process_time()
        found = list(dispatcher.run(seconds.tolist(), costs.tolist()))
        taken = time.perf_counter() - start
        assert len(found) == len(seconds)
        efficiencies.append(bound(seconds, size) / taken)
        processor.append((time.process_time() - used) / len(seconds) * 1e3)
        wall.append(taken)
    return {
        "candidates": len(costs),
        "cost_spread": round(float(costs.max() / costs.min()), 1),
        "efficiency": round(statistics.median(efficiencies), 4),
        "efficiencies": [round(each, 4) for each in efficiencies],
        "driver_ms": round(statistics.median(processor), 3),
        "seconds": [round(each, 3) for each in wall],
        "idle_share": round(dispatcher.use.idle_share, 4),
    }


def rates(subject: Subject, extent: Extent, reporter: Reporter) -> list[dict[str, Any]]:
    """Rows of this process and of numbers of Ray workers, on the same candidates, one thread each on the CPU."""
    with pinned(torch.get_num_threads()):
        found, space = study(subject, reporter)
    evaluator = evaluator_of(subject, space, found, subject.splits.search)
    return rates_of(subject, evaluator, extent, _numbers(subject.device.type == "cuda"))


def rates_of(subject: Subject, evaluator: Evaluator, extent: Extent, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The same for an evaluator that is made already, with so many Ray workers."""
    from gaprune.cluster.backend import RayBackend

    space, gpu = evaluator.space, subject.device.type == "cuda"
    shares = tuple(float(share) for share in np.linspace(0.6, 0.1, extent.candidates).round(4))
    chosen = genomes(space, shares)
    rows = [_rate("local", LocalBackend(evaluator, threads=1), chosen, extent)]
    for workers in numbers:
        share = 1 / workers if gpu else 0.0
        with own_ray(workers, share):
            backend = RayBackend(
                evaluator,
                threads=1,
                gpus=share,
                workers=workers,
                cost=lambda genome: space.cost(space.layout.unpack(genome)),
                private=chain(subject.model.parameters(), subject.model.buffers()),
            )
            rows.append(_rate(f"ray, {workers}", backend, chosen, extent))
            backend.close()
    here = rows[0]["found"]
    return [{"same_as_local": row.pop("found") == here, **row} for row in rows]


def _numbers(gpu: bool) -> list[int]:
    """Workers to measure: as many as there are cores, or up to four on a GPU."""
    most = 4 if gpu else len(os.sched_getaffinity(0))
    return [number for number in (1, 2, 4, 8, 16, 32, 64) if number <= max(most, 2)]


def _rate(name: str, backend: Backend, chosen: list[Any], extent: Extent) -> dict[str, Any]:
    start = time.perf_counter()
    backend.start(len(chosen))
    started = time.perf_counter() - start
    list(backend.evaluate(chosen))
    taken, own = [], []
    for _ in range(extent.turns):
        start = time.perf_counter()
        outcomes = dict(backend.evaluate(chosen))
        taken.append(time.perf_counter() - start)
        own.append(sum(outcome.seconds for outcome in outcomes.values()))
    workers = int(name.rpartition(" ")[2]) if "," in name else 1
    seconds = statistics.median(taken)
    return {
        "side": name,
        "candidates_per_second": round(len(chosen) / seconds, 4),
        "start_up_seconds": round(started, 3),
        "overhead_ms": round((seconds * workers - statistics.median(own)) / len(chosen) * 1e3, 2),
        "figures": backend.figures(),
        "found": {index: (outcome.values, outcome.minimised) for index, outcome in outcomes.items()},
    }


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """The parts asked for."""
    reporter = make_reporter()
    extent = QUICK if options.quick else Extent()
    result: dict[str, Any] = {"data": "sleeping", "device": "cpu", "seed": SEED, "cores": len(os.sched_getaffinity(0))}
    figures: dict[str, float] = {}
    if options.part != "scheduling":
        subject = load_subject(options, reporter)
        result |= {"data": subject.name, "device": subject.device.type, "rates": rates(subject, extent, reporter)}
    if options.part != "rates":
        rows = schedule(extent, reporter)
        for row in rows:
            figures[f"efficiency of {row['workers']} workers"] = row["efficiency"]
            figures[f"driver time with {row['workers']} workers"] = row["driver_ms"]
        result["scheduling"] = rows
    return {**result, "figures": figures}


def arguments(parser: argparse.ArgumentParser) -> None:
    """The subject, and which part."""
    add_arguments(parser)
    parser.add_argument("--part", choices=PARTS, default="all", help="what to measure")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure_all, arguments=arguments))
