"""Hill climbing: every rung of the ladder improves for itself, at its own cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.breeder import Breeder
from gaprune.evolve.initial import Initial, ladder
from gaprune.evolve.ledger import Ledger, pack_genomes, unpack_genomes
from gaprune.evolve.operators import Shift, Swap
from gaprune.evolve.ranked import rank
from gaprune.evolve.toolbox import make_toolbox
from gaprune.evolve.variation import Variation
from gaprune.genome import Floats, Genome, Space

DEARER = 0.01
"""By how much the other objectives may exceed where a climber began, as a share."""


class HillClimbing(Algorithm):
    """The control for recombination and selection: climbers that never meet.

    Each genome of the first generation is a climber. In each later one every climber tries one mutation that keeps the
    cost or the counts, and moves there if it violates constraints less, or no more and the first objective is lower
    while no other exceeds its beginning by more than 1 %.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised; the first is climbed.
        population: climbers; at least 4.
        seed: of the one generator.
        initial: where the climbers begin.
        variation: the mutations; moves of cost between sections and swaps within them if None.

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
        initial: Initial = ladder,
        variation: Variation | None = None,
    ) -> None:
        self._ledger = Ledger("hillclimb", space.layout, objectives=objectives, population=population, seed=seed)
        mutations = Variation(mutations=((Shift(), 0.6), (Swap(), 0.4)))
        ranked, rng = rank(space), self._ledger.rng
        toolbox = make_toolbox(ranked, rng, population=population, initial=initial, variation=variation or mutations)
        self._breeder = Breeder(ranked, toolbox, self._ledger)
        self._layout = space.layout
        self._climbers: list[Genome] = []
        self._at: Floats = np.empty((0, objectives + 1))
        self._limits: Floats = np.empty((0, objectives))

    @property
    def generation(self) -> int:
        """See ``Algorithm.generation``."""
        return self._ledger.generation

    def ask(self) -> list[Genome]:
        """See ``Algorithm.ask``."""
        return self._ledger.ask(self._steps if self._climbers else self._breeder.first)

    def _steps(self) -> list[Genome]:
        return [self._breeder.mutant(climber) for climber in self._climbers]

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        values, violations = self._ledger.tell(genomes, Y, violation)
        told = np.column_stack([violations, values])
        if not self._climbers:
            self._climbers, self._at = list(genomes), told
            self._limits = values * (1.0 + DEARER)
            return
        unknown = np.isinf(self._limits).any(axis=1)
        self._limits[unknown] = values[unknown] * (1.0 + DEARER)
        for index, genome in enumerate(genomes):
            if self._is_up(told[index], self._at[index], self._limits[index]):
                self._climbers[index], self._at[index] = genome, told[index]

    def _is_up(self, new: Floats, old: Floats, limits: Floats) -> bool:
        """Whether a climber at ``old`` goes to ``new``; both violation first, then objectives."""
        if new[0] != old[0]:
            return bool(new[0] < old[0])
        return bool(new[1] < old[1] and (new[2:] <= limits[1:]).all())

    def front(self) -> tuple[list[Genome], Floats]:
        """See ``Algorithm.front``."""
        return self._ledger.front()

    def rungs(self) -> list[Genome]:
        """See ``Algorithm.rungs``."""
        return list(self._ledger.start)

    def state(self) -> AlgorithmState:
        """See ``Algorithm.state``."""
        state = self._ledger.state()
        state.arrays["climbers"] = pack_genomes(self._climbers, self._layout)
        state.arrays["at"], state.arrays["limits"] = self._at.copy(), self._limits.copy()
        return state

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        self._ledger.restore(state)
        self._climbers = unpack_genomes(state.arrays["climbers"], self._layout)
        self._at = np.array(state.arrays["at"], dtype=np.float64)
        self._limits = np.array(state.arrays["limits"], dtype=np.float64)
