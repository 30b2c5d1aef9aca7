"""Does evolution earn its keep? Test accuracy of what searches hand out, against the ladder that they begin with.

Claim: at the same share of the FLOPs the networks that a search hands out are ahead of the ladder's own rungs on test
images that nobody chose by, in every seed, with compensation and polish on both sides, and after the same short
training as well.

How. Every search asks the same judge for as many candidates, judged on the same held-out images, and hands out one
network for each budget: the best by its fitness within it; or, where the method says "chosen", what gaprune hands out
(``session/handing_out.py``): a rung of the first or the tuned ladder unless another network is better on fresh images,
and of those within the budget the best on search images, polished, by the search's own fitness.
"Its ladder" are the tuned ladder's rungs alone. All are then compensated and polished, and measured on all test images
that the search does not use; differences from the ladder's rung are paired by image, with bootstrap intervals. With
``--train-images`` what is chosen and the ladder's rungs are then trained on so many images with the original as
teacher, from the same seed.
"Uniform" has the same share of every layer; GRAIL's stand-in compensates that over channels with a fixed ridge.

``--beside`` takes the rows of methods that are not asked for from the result that is there, if its settings are these;
each row names the code that made it. Seconds are a candidate's CPU time, so that methods can be compared at equal
seconds, too. Shipped weights that saw all training images are searched on other test images.

    python benchmarks/search.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import functools
import math
import operator
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.harness import DONE, run
from benchmarks.paired import difference, unpacked
from benchmarks.search_bench import Bench, made_bench, right
from benchmarks.search_figures import CHOSEN, GOALS, RAW, RUNGS, Row, draw, figures_of, rows_there, summary
from benchmarks.search_methods import (
    BITS,
    CLIMBING,
    CMA_LADDERS,
    ERROR,
    FITNESS,
    FLOPS,
    LADDER,
    OURS,
    PAPER,
    RANDOM,
    TUNED,
    Asked,
    Recorder,
    made,
    paper_rounds,
    searched,
)
from benchmarks.subjects import (
    add_arguments,
    code_digest,
    load_subject,
    widest_within,
)
from gaprune.evaluate import Outcome
from gaprune.evolve import hypervolume
from gaprune.genome import Bits, Genome
from gaprune.progress import make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.cut.compact import Compactor
from gaprune.session.handing_out import Candidate, Place, finalists, of_place

EVALUATIONS = 300
POPULATION = 24
IMAGES = 2_000
BUDGETS = (0.5, 0.25, 0.2, 0.1, 0.05)
POLISH_IMAGES = 2_048
PAPER_POPULATION = 30
"""At most; a round needs as many evaluations."""
DEAREST_COMPARED = 0.25
"""Where ways of handing out are compared and networks trained: what is dearer differs by less than the noise."""

QUICK = {
    "evaluations": 60,
    "population": 12,
    "images": 120,
    "budgets": (0.5, 0.25),
    "polish_images": 64,
    "train_images": 64,
}

POLISHED = "tuned-polished"
"""The method whose small candidates are polished before they are judged."""

UNIFORM, GRAIL = "uniform, compensated", "uniform, GRAIL's compensation"
METHODS = {
    "tuned": (TUNED, "divergence"),
    POLISHED: (TUNED, "divergence"),
    "nsga2": (OURS, "accuracy"),
    "nsga2-divergence": (OURS, "divergence"),
    "tuned-accuracy": (TUNED, "accuracy"),
    "cma": (CMA_LADDERS, "divergence"),
    "random": (RANDOM, "accuracy"),
    "climbing": (CLIMBING, "accuracy"),
    "bits": (BITS, "accuracy"),
    "paper": (PAPER, "loss"),
}

Out = dict[float, Genome]
"""What is handed out, by budget."""


def handed_out(bench: Bench, asked: Asked, rungs: list[Genome], fitness: str) -> dict[str, Out]:
    """What a search hands out by budget, in every way of handing out that it allows."""
    best = {genome.key: (genome, told) for genome, told in asked}
    found = [_candidate(genome, told, FITNESS[fitness]) for genome, told in best.values()]
    ways = {RAW: _by_budget(bench, found)}
    if rungs:
        known = {one.genome: one for one in found}
        trusted = [known[genome] for genome in rungs if genome in known]
        chosen = [
            one
            for place in finalists(_efficient(found), trusted)
            if _may_be_best(place, bench.budgets)
            for one in _of_place(place, bench)
        ]
        ways[CHOSEN] = _by_budget(bench, chosen, lambda one: _polished_fitness(bench.tested(one.genome), fitness))
        later = set(rungs[bench.settings["population"] :])
        if later:
            ways[RUNGS] = _by_budget(bench, [one for one in trusted if one.genome in later])
    return ways


def _may_be_best(place: Place, budgets: tuple[float, ...]) -> bool:
    """Whether what is handed out of a place can be the best within a budget: the ladder has a rung just below each."""
    costs = [one.cost for one in (*place.candidates, *place.beyond)]
    return any(min(costs) <= budget < 1.3 * max(costs) for budget in budgets)


def _of_place(place: Place, bench: Bench) -> list[Candidate]:
    if not place.is_doubtful:
        return [place.candidates[0]]
    return of_place(place, lambda one: bench.apart(one.genome))


def _candidate(genome: Genome, told: Any, fitness: int) -> Candidate:
    outcome = Outcome(genome.key, {}, {}, 0.0)
    return Candidate(genome, outcome, float(told[fitness]), float(told[FLOPS]))


def _polished_fitness(tested: Row, fitness: str) -> float:
    """What ``gaprune.pick`` goes by, minimised."""
    return -float(tested["search"]) if fitness == "accuracy" else float(tested[fitness])


def _efficient(found: list[Candidate]) -> list[Candidate]:
    kept: list[Candidate] = []
    for one in sorted(found, key=lambda one: (one.cost, one.fitness)):
        if not kept or one.fitness < kept[-1].fitness:
            kept.append(one)
    return kept


def _by_budget(
    bench: Bench, found: list[Candidate], worse: Callable[[Candidate], float] = operator.attrgetter("fitness")
) -> Out:
    """The best within each budget: by fitness, or, as who picks from a front, by the networks that are handed out."""
    out = {}
    for budget in bench.budgets:
        within = [one for one in found if one.cost <= budget]
        if within:
            out[budget] = min(within, key=worse).genome
    return out


def search_rows(bench: Bench, name: str, seed: int, advance: Callable[[], object]) -> list[Row]:
    """One search, and a row for each way of handing out what it found."""
    method, fitness = METHODS[name]
    judge = bench.polishing if name == POLISHED else bench.judge
    settings, recorder = bench.settings, Recorder(judge)
    rungs: list[Genome] = []
    if method == PAPER:
        steps = paper_rounds(
            bench.space, recorder, settings["evaluations"], min(PAPER_POPULATION, settings["evaluations"] // 10), seed
        )
    else:
        algorithm = made(method, bench.space, settings["population"], seed)
        steps = searched(algorithm, recorder, settings["evaluations"], FITNESS[fitness])
    for _ in steps:
        advance()
    if method in (TUNED, CMA_LADDERS, OURS):
        rungs = algorithm.rungs()
    asked = recorder.asked
    told = np.array([values for _, values in asked])
    curve = [round(hypervolume(told[:count, [ERROR, FLOPS]], (1.0, 1.0)), 5) for count in range(1, len(told) + 1)]
    shared = {
        "seed": seed,
        "code": code_digest(),
        "evaluations": len(asked),
        "seconds": round(sum(judge.seconds(genome) for genome in {genome for genome, _ in asked}), 1),
        "hypervolume": curve,
    }
    code = " ".join(code_digest(package) for package in ("evolve", "session", "runs"))
    ways = bench.work.row(
        f"handed out {name} {seed} {settings['evaluations']} {code}",
        lambda: {
            way: {f"{budget}": genome.text for budget, genome in out.items()}
            for way, out in handed_out(bench, asked, rungs, fitness).items()
        },
    )
    return [
        {
            "method": f"{method}, {'polished ' if name == POLISHED else ''}{fitness}: {way}",
            **shared,
            "out": {float(b): Genome.of_text(t) for b, t in out.items()},
        }
        for way, out in ways.items()
    ]


def ladder_row(bench: Bench) -> Row:
    """The ladder's own rungs."""
    out = {budget: bench.rung(budget) for budget in bench.budgets}
    return {"method": LADDER, "seed": 0, "evaluations": 0, "out": out}


def uniform_rows(bench: Bench, grail: Compensator) -> list[Row]:
    """The same share of every layer, by norm of the weights; no search and no polish, compensated in two ways."""
    subject, space = bench.subject, bench.space
    plain = Compactor(subject.model, subject.graph)
    rows = []
    for name in (UNIFORM, GRAIL):
        budgets = {}
        for budget in bench.budgets:
            masks = widest_within(
                subject, budget, space.worth.neurons, lambda level: np.full(len(subject.graph.groups), level)
            )

            def measured(masks: Any = masks, name: str = name) -> Row:
                evaluator = bench.judge.evaluator
                with torch.no_grad():
                    network = evaluator.compacted(masks) if name == UNIFORM else plain(masks, grail(masks))
                    evaluator.recalibrate(network, masks)
                return {"right": right(network, bench.test, subject)}

            found = bench.work.row(f"{name} {budget}", measured)
            share = subject.flops(masks) / subject.flops()
            hits = unpacked(found["right"], len(bench.test))
            budgets[f"{budget:.0%}"] = {"flops_share": round(share, 4), "test": round(float(hits.mean()), 4)}
        rows.append({"method": name, "seed": 0, "evaluations": 0, "budgets": budgets})
    return rows


def finished(bench: Bench, row: Row) -> Row:
    """A row with what its networks reach on test images, and how far they are ahead of the ladder's."""
    out: Out = row.pop("out")
    budgets = {}
    for budget, genome in out.items():
        is_way = row["method"].endswith((RAW, RUNGS))
        if is_way and budget > DEAREST_COMPARED:
            continue
        entry: Row = {"genome": genome.key, "flops_share": round(float(bench.judge(genome)[FLOPS]), 4)}
        entry |= _compared(bench, genome, budget, bench.tested)
        entry["search"] = round(bench.tested(genome)["search"], 4)
        if bench.settings["train_images"] and budget <= DEAREST_COMPARED and not is_way:
            entry["trained"] = _compared(bench, genome, budget, bench.trained)
        budgets[f"{budget:.0%}"] = entry
    return row | {"budgets": budgets}


def points_apart(ours: Bits, theirs: Bits) -> Row:
    """By how many points ``ours`` is ahead, with the 95% interval of a bootstrap over images."""
    found = difference(ours, theirs)
    return {"points": found["points"], "interval": found["95%"]}


def _compared(bench: Bench, genome: Genome, budget: float, measured: Callable[[Genome], Row]) -> Row:
    count = len(bench.test)
    ours, theirs = (unpacked(measured(one)["right"], count) for one in (genome, bench.rung(budget)))
    return {"test": round(float(ours.mean()), 4), "over the ladder": points_apart(ours, theirs)}


def run_all(bench: Bench, grail: Compensator, plan: list[tuple[str, int]], until: float) -> list[Row]:
    """The ladder, all searches seed by seed, of which none begins after ``until``, and what knows of no ladder."""
    rows = [finished(bench, ladder_row(bench))]
    with bench.reporter.task("evaluations", bench.settings["evaluations"] * len(plan)) as task:
        for name, seed in plan:
            if time.monotonic() > until:
                break
            shown = f"{name}, seed {seed}"
            found = search_rows(bench, name, seed, functools.partial(task.advance, 1, search=shown))
            rows += [finished(bench, row) for row in found]
    return rows + uniform_rows(bench, grail)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All searches."""
    reporter, began = make_reporter(), time.monotonic()
    subject = load_subject(options, reporter)
    asked = (options.evaluations, POPULATION, options.images, BUDGETS, POLISH_IMAGES, options.train_images)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else asked, strict=True))
    settings |= {"seeds": options.seeds, "temperature": options.temperature}
    bench, grail = made_bench(options, subject, settings, reporter)
    plan = [(name, seed) for seed in range(options.seeds) for name in options.methods]
    rows = run_all(bench, grail, plan, began + 60 * options.minutes)
    name = f"search-{subject.name}-{subject.device.type}{'-quick' if options.quick else ''}"
    everything = settings | {"network": subject.identity, "precision": subject.precision}
    if options.beside:
        rows += rows_there(options.output / f"{name}.json", everything, rows)
    original = subject.accuracy(subject.model, subject.splits.test)
    draw(options.output / f"{name}.png", rows, f"{subject.name}: {settings['evaluations']} evaluations, polished")
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: bench.work.remove,
        "threads": torch.get_num_threads(),
        "settings": everything,
        "original_test_accuracy": original,
        "test_images": len(bench.test),
        "figures": figures_of(subject.variant, rows, original),
        "summary": summary(rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, which methods, how many seeds, how long."""
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=tuple(METHODS))
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="of each search")
    parser.add_argument("--images", type=int, default=IMAGES, help="that candidates are judged on")
    parser.add_argument("--train-images", type=int, default=0, help="of the short training; 0 leaves it out")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no search begins")
    parser.add_argument(
        "--beside", action="store_true", help="keep the other methods' rows of the result that is there"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="of the divergence")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
