"""NSGA-II around a tuned ladder: CMA-ES first, then all that it was told goes on as NSGA-II's first parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.cma import CMA
from gaprune.evolve.ledger import pack_genomes, unpack_genomes
from gaprune.evolve.nsga2 import NSGA2
from gaprune.genome import Bits, Floats, Genome, Layout, Shares, Space

TUNING = 5
"""Generations of the ladder; its own rungs are the first."""


@dataclass(frozen=True)
class TiltedSpace:
    """A space whose ladder is a tilted one.

    Attributes:
        space: the space.
        tilt: (sections,) see ``Space.tilted``.
        ladder: the keep shares that belong to it.
    """

    space: Space
    tilt: Floats
    ladder: Shares

    @classmethod
    def of(cls, space: Space, tilt: Floats) -> TiltedSpace:
        """``space`` on the ladder of ``tilt``."""
        return cls(space, tilt, space.tilted(tilt))

    @property
    def layout(self) -> Layout:
        """See ``Space.layout``."""
        return self.space.layout

    @property
    def importance(self) -> Floats:
        """See ``Space.importance``."""
        return self.space.importance

    def repair(self, bits: Bits) -> Bits:
        """See ``Space.repair``."""
        return self.space.repair(bits)

    def live(self, bits: Bits) -> Bits:
        """See ``Space.live``."""
        return self.space.live(bits)

    def shares(self, level: float) -> Floats:
        """The tilted ladder's."""
        return self.ladder(level)

    def tilted(self, tilt: Floats) -> Shares:
        """Of both tilts together."""
        return self.space.tilted(self.tilt + tilt)

    def cost(self, bits: Bits) -> float:
        """See ``Space.cost``."""
        return self.space.cost(bits)


@dataclass(frozen=True)
class _Told:
    """What CMA-ES was told, in order.

    Attributes:
        genomes: n genomes.
        numbers: (n, 2m + 1) objectives, those expected, violation.
    """

    genomes: list[Genome]
    numbers: Floats

    def with_more(self, genomes: Sequence[Genome], Y: Floats, violation: Floats | None, expected: Floats) -> _Told:
        broken = np.zeros(len(Y)) if violation is None else violation
        rows = np.column_stack([Y, expected, broken])
        return _Told([*self.genomes, *genomes], np.concatenate([self.numbers, rows]))

    def begin(self, search: NSGA2) -> None:
        """Tell all of it to a fresh search."""
        objectives = (self.numbers.shape[1] - 1) // 2
        Y, expected = self.numbers[:, :objectives], self.numbers[:, objectives:-1]
        search.adopt(self.genomes, Y, self.numbers[:, -1], expected=expected)


class Tuned(Algorithm):
    """A few generations of ``CMA``, then ``NSGA2`` on the space with the ladder that was found.

    NSGA-II begins with the best of what CMA-ES was told as its parents; its guesses learn from all of it, and its
    operators and profiles measure departures from the tuned ladder. Its first generation are that ladder's rungs, at
    the budgets where the search began with those of the space's own.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised.
        population: genomes a generation; at least 4.
        seed: of the generator, from which NSGA-II's is drawn.
        largest: see ``CMA``.
        tuning: generations of CMA-ES, at least 1.

    Raises:
        OptionError: the population is too small.
    """

    def __init__(
        self,
        space: Space,
        *,
        objectives: int = 2,
        population: int = 30,
        seed: int = 0,
        largest: float = 1.0,
        tuning: int = TUNING,
    ) -> None:
        self._objectives, self._population = objectives, population
        self._space, self._tuning = space, tuning
        self._cma = CMA(space, seed=seed, largest=largest, name="tuned", objectives=objectives, population=population)
        self._told = _Told([], np.empty((0, 2 * objectives + 1)))
        self._tilt: Floats = np.zeros(len(space.layout.sections))
        self._nsga2: NSGA2 | None = None
        self._first: list[Genome] = []

    @property
    def generation(self) -> int:
        """See ``Algorithm.generation``."""
        return self._cma.generation if self._nsga2 is None else self._tuning + self._nsga2.generation

    @property
    def _now(self) -> CMA | NSGA2:
        return self._nsga2 or self._cma

    def ask(self) -> list[Genome]:
        """See ``Algorithm.ask``."""
        return self._now.ask()

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        self._now.tell(genomes, Y, violation, expected=expected)
        if self._nsga2 is None:
            self._told = self._told.with_more(genomes, Y, violation, Y if expected is None else expected)
            if self._cma.generation >= self._tuning:
                self._tilt = self._cma.tilt
                self._nsga2 = self._second(self._cma.drawn_seed())
                self._told.begin(self._nsga2)
                self._nsga2.plan(self._cma.mean_rungs())
                self._first = self._cma.rungs()

    def _second(self, seed: int) -> NSGA2:
        space = TiltedSpace.of(self._space, self._tilt)
        return NSGA2(space, name="tuned", seed=seed, objectives=self._objectives, population=self._population)

    def front(self) -> tuple[list[Genome], Floats]:
        """See ``Algorithm.front``."""
        return self._now.front()

    def rungs(self) -> list[Genome]:
        """See ``Algorithm.rungs``: those of the first ladder and of the tuned one.

        None where the first are not known: a search of an older version may have bred what its NSGA-II began with.
        """
        if self._nsga2 is None:
            return self._cma.rungs()
        return [*self._first, *self._nsga2.rungs()] if self._first else []

    def state(self) -> AlgorithmState:
        """See ``Algorithm.state``."""
        state = self._now.state()
        state.meta["tuning"] = self._nsga2 is None
        if self._nsga2 is None:
            layout = self._space.layout
            state.arrays["told_genomes"] = pack_genomes(self._told.genomes, layout)
            state.arrays["told_numbers"] = self._told.numbers.copy()
        else:
            state.arrays["tilt"] = self._tilt.copy()
            state.arrays["first"] = pack_genomes(self._first, self._space.layout)
        return state

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        if state.meta.get("tuning", True):
            self._cma.restore(state)
            genomes = unpack_genomes(state.arrays["told_genomes"], self._space.layout)
            self._told = _Told(genomes, np.array(state.arrays["told_numbers"], dtype=np.float64))
            self._nsga2, self._first = None, []
            return
        self._tilt = np.array(state.arrays["tilt"], dtype=np.float64)
        self._nsga2 = self._second(seed=0)  # the state brings its own generator
        self._nsga2.restore(state)
        self._first = unpack_genomes(state.arrays["first"], self._space.layout) if "first" in state.arrays else []
