"""The searches that ``benchmarks/search.py`` compares, and what judges their candidates.

All methods ask the same judge: the same network, compensation, batch-norm recalibration and images, neurons as genes,
every candidate measured to the end (the command stops some early), no training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.subjects import SEED, Subject, WorkFile
from gaprune.data import ImageSet
from gaprune.evaluate import Answers, Evaluator, Polish, resolve_objectives
from gaprune.evaluate import FitnessTask as Judged
from gaprune.evaluate.measurement import measure as top1
from gaprune.evolve import CMA, NSGA2, Algorithm, HillClimbing, RandomSearch, Tuned
from gaprune.evolve.initial import halving, ladder, uninformed
from gaprune.evolve.operators import Flip, OnePoint
from gaprune.evolve.rounds import Rounds
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits, Floats, Genome, Layout, Section, Shares, Space, bent
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.space import PruningSpace
from gaprune.training import bfloat16_pays

PAPER_SHARES = (0.03, 0.52, 0.45, 0.37, 0.27)
"""Of the neurons, read off Table 5 for VGG16; the first from the parameters of Table 2."""

OURS, LADDER, RANDOM, CLIMBING = "NSGA-II, ours", "ladder alone", "random search", "hill climbing"
CMA_LADDERS, TUNED = "CMA-ES on ladders", "NSGA-II around a tuned ladder"
BITS, PAPER = "NSGA-II on bits, uninformed", "the paper's rounds"

ERROR, FLOPS, LOSS, DIVERGENCE = range(4)
"""What a judge says of a candidate, in this order."""

FITNESS = {"accuracy": ERROR, "loss": LOSS, "divergence": DIVERGENCE}

Row = dict[str, Any]
Asked = list[tuple[Genome, Floats]]
"""Candidates in the order asked for, each with its (4,) error, share of FLOPs, loss and divergence."""


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
        temperature: that softens the original's answers.
        polish: of small candidates, before they are judged.

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
        temperature: float = 1.0,
        polish: Polish | None = None,
    ) -> None:
        task = Judged(
            search=images,
            calibration=subject.recalibration,
            mean=subject.data.mean,
            std=subject.data.std,
            classes=len(subject.data.classes),
            half=bfloat16_pays(subject.device),
            answers=Answers.of(subject.model, images, *subject.norm, temperature=temperature),
        )
        self.evaluator = Evaluator(
            subject.model,
            space,
            task,
            resolve_objectives(("accuracy", "flops")),
            compensator,
            anchors=subject.anchors,
            polish=polish,
        )
        self._subject, self._others, self._work, self._name = subject, others, work, name

    def __call__(self, genome: Genome) -> Floats:
        """(4,) error and share of FLOPs, then loss and divergence."""
        return np.array(self._row(genome)[:-1])

    def seconds(self, genome: Genome) -> float:
        """CPU seconds that the candidate took."""
        return float(self._row(genome)[-1])

    def _row(self, genome: Genome) -> list[float]:
        found: list[float] = self._work.row(f"{self._name}{genome.key}", lambda: self._measured(genome))
        return found

    def test(self, genome: Genome) -> float:
        """Top-1 on the other images, in single precision."""
        return float(self._work.row(f"test {self._name}{genome.key}", lambda: self._tested(genome)))

    def _measured(self, genome: Genome) -> list[float]:
        since = time.process_time()
        outcome = self.evaluator(genome)
        spent = round(time.process_time() - since, 4)
        if outcome.failure is not None:
            raise RuntimeError(f"candidate {genome.key} failed: {outcome.failure}")
        return [*outcome.minimised.values(), outcome.values["loss"], outcome.values["divergence"], spent]

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


def searched(
    algorithm: Algorithm, judge: Callable[[Genome], Floats], evaluations: int, fitness: int = ERROR
) -> Iterator[Floats]:
    """Run an algorithm of a fitness and FLOPs for some evaluations, yielding what each candidate gave."""
    spent = 0
    while spent < evaluations:
        genomes = algorithm.ask()
        told = []
        for genome in genomes:
            told.append(judge(genome))
            yield told[-1]
        algorithm.tell(genomes, np.array(told)[:, [fitness, FLOPS]])
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
            algorithm.tell(genomes, np.array(told)[:, [LOSS]])
        kept = left.whole(left.layout.unpack(algorithm.front()[0][0]))


def made(name: str, space: Space, population: int, seed: int) -> Algorithm:
    """The algorithm of a method that is one."""
    if name == BITS:
        flips = Variation(crossovers=((OnePoint(position=None), 1.0),), mutations=((Flip(), 1.0),))
        return NSGA2(space, population=population, seed=seed, initial=uninformed, variation=flips, screening=False)
    makers: dict[str, Callable[..., Algorithm]] = {
        OURS: NSGA2,
        RANDOM: RandomSearch,
        CLIMBING: HillClimbing,
        CMA_LADDERS: CMA,
        TUNED: Tuned,
    }
    return makers[name](space, population=population, seed=seed)


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
