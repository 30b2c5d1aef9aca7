"""Does evolution earn its keep? Hypervolume and accuracy at fixed budgets against evaluations, by search algorithm.

Claim: after 300 evaluations NSGA-II as gaprune runs it (first population on the ladder, informed operators, children
bred on guesses) has found a better front than the same 300 evaluations spent on the ladder alone, on random search with
the same operators, or on hill climbing from the ladder; and it needs no more than 15 to be where NSGA-II on bits that
knows nothing of the network is after 300. The paper's rounds (Kuzmin et al. 2024: N = 30, K = 5, cut and mutation rate
0.6, five rounds with shares as in its Table 5, selection by loss) stand beside them: two generations a round, as 300
evaluations allow, each round among the neurons that the one before left; order and compensation are the original's
throughout, and the first population of a round is spread evenly over the layers.

All sides: the same network, compensation, batch-norm recalibration and images, neurons as genes, every candidate
measured to the end (the command stops some early), no training. Hypervolume: of error and share of FLOPs up to (1, 1),
on the search images, which all sides are chosen by. Accuracy at a budget: of the candidate within it that is best on
the search images, measured on test images that no side has seen. Shipped weights that saw all training images are
searched on other test images.

    python benchmarks/search.py --data-dir DIR
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import DONE, Goal, run
from benchmarks.subjects import SEED, Subject, WorkFile, add_arguments, code_digest, fixed_sample, load_subject, study
from gaprune.data import ImageSet
from gaprune.evaluate import Evaluator, resolve_objectives
from gaprune.evaluate import FitnessTask as Judged
from gaprune.evaluate.measurement import measure as top1
from gaprune.evolve import CMA, NSGA2, Algorithm, HillClimbing, RandomSearch, Tuned, hypervolume
from gaprune.evolve.initial import halving, ladder, uninformed
from gaprune.evolve.operators import Flip, OnePoint
from gaprune.evolve.rounds import Rounds
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits, Floats, Genome, Layout, Section, Shares, Space, bent
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.space import PruningSpace
from gaprune.training import bfloat16_pays

EVALUATIONS = 300
POPULATION = 25
IMAGES = 1_000
OTHERS = 4_000
MARKS = (15, 25, 50, 100, 150, 200, 250, 300)
BUDGETS = (0.5, 0.25, 0.1, 0.05)
REFERENCE = (1.0, 1.0)
PAPER_POPULATION = 30
PAPER_SHARES = (0.03, 0.52, 0.45, 0.37, 0.27)
"""Of the neurons, read off Table 5 for VGG16; the first from the parameters of Table 2."""

QUICK = {"evaluations": 60, "population": 12, "images": 120, "others": 200, "paper_population": 6}
OURS, LADDER, RANDOM, CLIMBING = "NSGA-II, ours", "ladder alone", "random search", "hill climbing"
CMA_LADDERS, TUNED = "CMA-ES on ladders", "NSGA-II around a tuned ladder"
BITS, PAPER = "NSGA-II on bits, uninformed", "the paper's rounds"

GOALS = (
    *(
        Goal(f"hypervolume over {other}, worst seed", ">=", 0.0, "of the unit square")
        for other in (LADDER, RANDOM, CLIMBING)
    ),
    Goal("test accuracy over ladder alone, 10%", ">=", 2.0, "points"),
    Goal("test accuracy over ladder alone, 5%", ">=", 2.0, "points"),
    Goal(f"evaluations to the 300 of {BITS}, worst seed", "<=", 15, "evaluations"),
)

Row = dict[str, Any]
Asked = list[tuple[Genome, Floats]]
"""Candidates in the order asked for, each with its (3,) error, share of FLOPs and loss."""


class Judge:
    """Candidates to numbers, each genome once.

    Args:
        subject: the network.
        space: its genomes.
        compensator: of all candidates.
        images: that candidates are chosen by.
        others: test images that only report.
        work: keeps what was measured.
        name: of the space, where a work file serves several.

    Attributes:
        evaluator: genome to network and numbers.
    """

    def __init__(
        self,
        subject: Subject,
        space: PruningSpace,
        compensator: Compensator,
        images: ImageSet,
        others: ImageSet,
        work: WorkFile,
        name: str = "",
    ) -> None:
        task = Judged(
            search=images,
            calibration=subject.recalibration,
            mean=subject.data.mean,
            std=subject.data.std,
            classes=len(subject.data.classes),
            half=bfloat16_pays(subject.device),
        )
        self.evaluator = Evaluator(
            subject.model,
            space,
            task,
            resolve_objectives(("accuracy", "flops")),
            compensator,
            anchors=subject.anchors,
        )
        self._subject, self._others, self._work, self._name = subject, others, work, name

    def __call__(self, genome: Genome) -> Floats:
        """(3,) error and share of FLOPs, then the loss."""
        return np.array(self._work.row(f"{self._name}{genome.key}", lambda: self._measured(genome)))

    def test(self, genome: Genome) -> float:
        """Top-1 on the other images, in single precision."""
        return float(self._work.row(f"test {self._name}{genome.key}", lambda: self._tested(genome)))

    def _measured(self, genome: Genome) -> list[float]:
        outcome = self.evaluator(genome)
        if outcome.failure is not None:
            raise RuntimeError(f"candidate {genome.key} failed: {outcome.failure}")
        return [*outcome.minimised.values(), outcome.values["loss"]]

    def _tested(self, genome: Genome) -> float:
        return top1(self.evaluator.network(genome), self._others, *self._subject.norm).accuracy


@dataclass(frozen=True)
class Left:
    """The space of what is left of another one: genes that an earlier round removed are not there.

    Attributes:
        space: the whole space.
        kept: (size,) of its genes that are left.
    """

    space: Space
    kept: Bits

    @property
    def layout(self) -> Layout:
        """Of the genes that are left."""
        sections, start = [], 0
        for section in self.space.layout.sections:
            size = int(np.count_nonzero(self.kept[section.slice]))
            sections.append(Section(section.name, section.kind, start, size))
            start += size
        return Layout(tuple(sections))

    @property
    def importance(self) -> Floats:
        """As the whole space states it."""
        return self.space.importance[self.kept]

    def whole(self, bits: Bits) -> Bits:
        """The bits of the whole space that these stand for."""
        found = np.zeros_like(self.kept)
        found[self.kept] = bits
        return found

    def repair(self, bits: Bits) -> Bits:
        """No section empty."""
        mended = bits.copy()
        for section in self.layout.sections:
            genes = mended[section.slice]
            if not genes.any():
                genes[int(np.argmax(self.importance[section.slice]))] = True
        return mended

    def live(self, bits: Bits) -> Bits:
        """All genes say something."""
        return np.ones_like(bits)

    def shares(self, level: float) -> Floats:
        """The level for every section: the ladder is the whole network's."""
        return np.full(len(self.layout.sections), level)

    def tilted(self, tilt: Floats) -> Shares:
        """The level to a power of each section's own, likewise."""
        return bent(tilt)

    def cost(self, bits: Bits) -> float:
        """Share of the whole network's FLOPs."""
        return self.space.cost(self.whole(bits))


def searched(algorithm: Algorithm, judge: Callable[[Genome], Floats], evaluations: int) -> Iterator[Floats]:
    """Run an algorithm of error and FLOPs for some evaluations, yielding what each candidate gave."""
    spent = 0
    while spent < evaluations:
        genomes = algorithm.ask()
        told = []
        for genome in genomes:
            told.append(judge(genome))
            yield told[-1]
        algorithm.tell(genomes, np.array(told)[:, :2])
        spent += len(genomes)


def climb_ladder(space: Space, judge: Callable[[Genome], Floats], evaluations: int) -> Iterator[Floats]:
    """All rungs of the ladder, the gaps between those before halved again and again."""
    rungs = ladder(space, evaluations, np.random.default_rng(SEED))
    for rung in halving(evaluations):
        yield judge(rungs[rung])


def paper_rounds(
    space: Space, judge: Callable[[Genome], Floats], evaluations: int, population: int, seed: int
) -> Iterator[Floats]:
    """The paper's rounds, as many generations in each as the evaluations allow."""
    kept = np.ones(space.layout.size, dtype=np.bool_)
    generations = max(1, evaluations // (population * len(PAPER_SHARES)))
    for number, share in enumerate(PAPER_SHARES):
        left = Left(space, kept)
        algorithm = Rounds(left, population=population, seed=100 * seed + number, share=share)
        for _ in range(generations):
            genomes = algorithm.ask()
            told = []
            for genome in genomes:
                told.append(judge(space.layout.pack(left.whole(left.layout.unpack(genome)))))
                yield told[-1]
            algorithm.tell(genomes, np.array(told)[:, 2:])
        kept = left.whole(left.layout.unpack(algorithm.front()[0][0]))


def methods(space: Space, settings: Row, judge: Callable[[Genome], Floats]) -> dict[str, Callable[[int], Any]]:
    """Each side by name: a seed to its evaluations, in order."""
    count, population = settings["evaluations"], settings["population"]
    flips = Variation(crossovers=((OnePoint(position=None), 1.0),), mutations=((Flip(), 1.0),))

    def of(make: Callable[[int], Algorithm]) -> Callable[[int], Iterator[Floats]]:
        return lambda seed: searched(make(seed), judge, count)

    def on_bits(seed: int) -> Algorithm:
        return NSGA2(space, population=population, seed=seed, initial=uninformed, variation=flips, screening=False)

    return {
        LADDER: lambda seed: climb_ladder(space, judge, count),
        OURS: of(lambda seed: NSGA2(space, population=population, seed=seed)),
        RANDOM: of(lambda seed: RandomSearch(space, population=population, seed=seed)),
        CMA_LADDERS: of(lambda seed: CMA(space, population=population, seed=seed)),
        TUNED: of(lambda seed: Tuned(space, population=population, seed=seed)),
        CLIMBING: of(lambda seed: HillClimbing(space, population=population, seed=seed)),
        BITS: of(on_bits),
        PAPER: lambda seed: paper_rounds(space, judge, count, settings["paper_population"], seed),
    }


class Recorder:
    """A judge that notes what it was asked, in order."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.asked: Asked = []

    def __call__(self, genome: Genome) -> Floats:
        """See ``Judge``."""
        found = self._judge(genome)
        self.asked.append((genome, found))
        return found


def row_of(name: str, seed: int, asked: Asked, judge: Judge) -> Row:
    """Hypervolume at each mark and accuracy at each budget of one search."""
    told = np.array([values for _, values in asked])
    curve = [round(hypervolume(told[:mark, :2], REFERENCE), 5) for mark in range(1, len(told) + 1)]
    accuracy = {}
    for budget in BUDGETS:
        within = np.flatnonzero(told[:, 1] <= budget)
        if len(within):
            best = within[np.argmin(told[within, 0])]
            test = judge.test(asked[best][0])
            accuracy[f"{budget:.0%}"] = {"search": round(1 - float(told[best, 0]), 4), "test": round(test, 4)}
    spent = len(told)
    return {
        "method": name,
        "seed": seed,
        "code": code_digest(),
        "evaluations": spent,
        "hypervolume": curve,
        "accuracy": accuracy,
    }


def figures_of(rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of."""
    by = {(row["method"], row["seed"]): row for row in rows}
    seeds = sorted(seed for name, seed in by if name == OURS)
    ends = {key: row["hypervolume"][-1] for key, row in by.items()}
    figures = {}
    for other in (LADDER, RANDOM, CLIMBING):
        apart = [ends[OURS, seed] - ends[other, 0 if other == LADDER else seed] for seed in seeds]
        figures[f"hypervolume over {other}, worst seed"] = round(min(apart), 5)
    for budget in ("10%", "5%"):
        ours = [by[OURS, seed]["accuracy"].get(budget, {"test": 0.0})["test"] for seed in seeds]
        if budget in by[LADDER, 0]["accuracy"]:
            gain = statistics.mean(ours) - by[LADDER, 0]["accuracy"][budget]["test"]
            figures[f"test accuracy over ladder alone, {budget}"] = round(100 * gain, 3)
    goal = max(end for (name, _), end in ends.items() if name == BITS)
    needed = [sum(value < goal for value in by[OURS, seed]["hypervolume"]) + 1 for seed in seeds]
    figures[f"evaluations to the 300 of {BITS}, worst seed"] = max(needed)
    return figures


def summary(rows: list[Row]) -> list[Row]:
    """Means and spread over seeds by method."""
    found = []
    for name in dict.fromkeys(row["method"] for row in rows):
        ours = [row for row in rows if row["method"] == name]
        line: Row = {"method": name, "seeds": len(ours)}
        for mark in MARKS:
            values = [row["hypervolume"][mark - 1] for row in ours if len(row["hypervolume"]) >= mark]
            if values:
                line[f"hypervolume at {mark}"] = _spread(values, 5)
        for budget in (f"{budget:.0%}" for budget in BUDGETS):
            for images in ("search", "test"):
                values = [row["accuracy"][budget][images] for row in ours if budget in row["accuracy"]]
                if values:
                    line[f"{images} accuracy at {budget}"] = _spread(values, 4)
        found.append(line)
    return found


def _spread(values: list[float], digits: int) -> Row:
    return {"mean": round(statistics.mean(values), digits), "least": min(values), "most": max(values)}


def draw(path: Path, rows: list[Row], title: str) -> None:
    """Hypervolume against evaluations: the mean of each method, and from the worst to the best seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    best = max(row["hypervolume"][-1] for row in rows)
    for name in dict.fromkeys(row["method"] for row in rows):
        curves = [row["hypervolume"] for row in rows if row["method"] == name]
        table = np.array([curve[: min(map(len, curves))] for curve in curves])
        x = np.arange(1, table.shape[1] + 1)
        axes.plot(x, table.mean(0), label=name)
        axes.fill_between(x, table.min(0), table.max(0), alpha=0.2)
    axes.set(xlabel="evaluations", ylabel="hypervolume, search images", title=title)
    axes.set_ylim(best - 0.12, best + 0.01)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def kept_rows(path: Path, again: str, settings: Row) -> list[Row]:
    """The other methods' rows of an earlier result, which must have been measured in the same way."""
    if not path.exists():
        raise SystemExit(f"--again needs the result of a whole run: there is no {path}")
    earlier = json.loads(path.read_text())
    if apart := [name for name, value in settings.items() if earlier["settings"].get(name) != value]:
        raise SystemExit(f"{path} was measured with other {', '.join(apart)}: run without --again")
    return [row for row in earlier["rows"] if row["method"] != again]


def run_all(judge: Judge, space: Space, settings: Row, reporter: Reporter, only: str | None = None) -> list[Row]:
    """Every method, or only one, from every seed; the ladder, which has none, once."""
    seeds, few = settings["seeds"], settings["control_seeds"]
    plan = [(LADDER, 0)]
    plan += [(name, seed) for seed in range(seeds) for name in (OURS, RANDOM, CLIMBING, CMA_LADDERS, TUNED)]
    plan += [(name, seed) for seed in range(few) for name in (BITS, PAPER)]
    plan = [(name, seed) for name, seed in plan if only in (None, name)]
    rows = []
    with reporter.task("evaluations", settings["evaluations"] * len(plan)) as task:
        for name, seed in plan:
            recorder = Recorder(judge)
            for _ in methods(space, settings, recorder)[name](seed):
                task.advance(1, search=f"{name}, seed {seed}")
            rows.append(row_of(name, seed, recorder.asked, judge))
    return rows


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All searches."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    full = (EVALUATIONS, POPULATION, IMAGES, OTHERS, PAPER_POPULATION)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else full, strict=True))
    settings |= {"seeds": options.seeds, "control_seeds": min(options.control_seeds, options.seeds)}
    identity = subject.identity | {"images": settings["images"], "others": settings["others"], "code": code_digest()}
    work = WorkFile(options.output / f".search-{subject.name}.jsonl", identity)
    statistics_, space = study(subject, reporter)
    compensator = Compensator(subject.model, subject.graph, statistics_)
    images = fixed_sample(subject.splits.search, settings["images"])
    others = fixed_sample(subject.splits.test, settings["others"])
    judge = Judge(subject, space, compensator, images, others, work)
    measured = settings | {"network": subject.identity, "precision": subject.precision}
    name = f"search-{subject.name}-{subject.device.type}{'-quick' if options.quick else ''}"
    kept = kept_rows(options.output / f"{name}.json", options.again, measured) if options.again else []
    rows = kept + run_all(judge, space, settings, reporter, options.again)
    draw(
        options.output / f"{name}.png",
        rows,
        f"{subject.name}: {settings['evaluations']} evaluations, no training",
    )
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": measured,
        "figures": figures_of(rows),
        "summary": summary(rows),
        "rows": rows,
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, and how many seeds."""
    add_arguments(parser)
    parser.add_argument("--seeds", type=int, default=5, help="of the searches that goals speak of")
    parser.add_argument(
        "--again",
        choices=(OURS, LADDER, RANDOM, CLIMBING, CMA_LADDERS, TUNED, BITS, PAPER),
        help="measure one method again and take the others' rows from the result that is there",
    )
    parser.add_argument("--control-seeds", type=int, default=3, help="of uninformed NSGA-II and the paper's rounds")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
