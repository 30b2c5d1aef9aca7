"""One round of the paper's genetic algorithm: a fixed share of the genes goes, the loss decides which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaprune.errors import OptionError
from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.ledger import Ledger, pack_genomes, unpack_genomes
from gaprune.evolve.operators import Flip, Mutation, OnePoint
from gaprune.evolve.quota import Quota
from gaprune.evolve.ranked import rank
from gaprune.genome import Bits, Floats, Genome, Space

SELECTED = 5
SHARE = 0.5


class Rounds(Algorithm):
    """The eight stages of Kuzmin, Menisov and Sabirov (2024), for one round.

    1. A population that leaves out the share of genes that goes, the least sensitive first, unevenly over the layers;
    2. their fitness; 3. the best by the first objective are selected; 4. two of them are cut at one point; 5. the
    child is changed at random with a probability, and brought back to the share; 6. fitness of the new ones; 7. again;
    8. the best of all generations stay: they are the parents, and the front.

    Args:
        space: what to search.
        objectives: number of objectives, minimised; the first one selects, the others tell equals apart.
        population: N, genomes a generation; at least 4.
        seed: of the one generator.
        share: of the genes that goes, see ``Quota``.
        selected: K, the parents; None is 5, or the population where that is smaller.
        cut: p_c, where the chromosomes are cut, as a share of their length.
        mutation_rate: p_mut, the probability that a child is changed.
        mutation: how.

    Raises:
        OptionError: a number is out of range.
    """

    def __init__(
        self,
        space: Space,
        *,
        objectives: int = 1,
        population: int = 30,
        seed: int = 0,
        share: float = SHARE,
        selected: int | None = None,
        cut: float = 0.6,
        mutation_rate: float = 0.6,
        mutation: Mutation | None = None,
    ) -> None:
        self._ledger = Ledger("rounds", space.layout, objectives=objectives, population=population, seed=seed)
        self._selected = min(SELECTED, population) if selected is None else selected
        if not 2 <= self._selected <= population:
            raise OptionError(f"selected must be 2 to the population of {population}, got {selected}")
        for name, value in (("cut", cut), ("mutation-rate", mutation_rate)):
            if not 0 <= value <= 1:
                raise OptionError(f"{name} must be 0 to 1, got {value:g}")
        self._space = rank(space)
        self._quota = Quota(self._space, share)
        self._crossover = OnePoint(position=cut)
        self._mutation_rate = mutation_rate
        self._mutation = mutation or Flip()
        self._parents: list[Genome] = []
        self._parents_Y: Floats = np.empty((0, objectives))
        self._parents_violation: Floats = np.empty(0)

    @property
    def generation(self) -> int:
        """See ``Algorithm.generation``."""
        return self._ledger.generation

    def ask(self) -> list[Genome]:
        """See ``Algorithm.ask``."""
        return self._ledger.ask(self._children if self._parents else self._first)

    def _first(self) -> list[Genome]:
        rng = self._ledger.rng
        return [self._admit(self._quota.draw(rng, plain=index == 0)) for index in range(self._ledger.population)]

    def _children(self) -> list[Genome]:
        return [self._child() for _ in range(self._ledger.population)]

    def _child(self) -> Genome:
        rng, unpack = self._ledger.rng, self._space.layout.unpack
        a, b = rng.choice(len(self._parents), 2, replace=len(self._parents) < 2)
        child = self._crossover(unpack(self._parents[a]), unpack(self._parents[b]), space=self._space, rng=rng)
        if rng.random() < self._mutation_rate:
            child = self._mutation(child, space=self._space, rng=rng)
        return self._admit(self._quota.meet(child, rng))

    def _admit(self, bits: Bits) -> Genome:
        """The genome, changed further while it was asked for before; in the end a known one is let through."""
        rng = self._ledger.rng
        _, genome = self._ledger.unseen(
            bits, lambda known: self._quota.meet(self._mutation(known, space=self._space, rng=rng), rng)
        )
        self._ledger.note(genome)
        return genome

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        told_Y, told_violation = self._ledger.tell(genomes, Y, violation)
        values = np.concatenate([self._parents_Y, told_Y])
        violations = np.concatenate([self._parents_violation, told_violation])
        candidates = [*self._parents, *genomes]
        best: dict[Genome, int] = {}
        for index in np.lexsort((*values.T[::-1], violations)):
            if np.isfinite(violations[index]) and len(best) < self._selected:
                best.setdefault(candidates[index], int(index))
        kept = list(best.values())
        self._parents = list(best)
        self._parents_Y, self._parents_violation = values[kept], violations[kept]

    def front(self) -> tuple[list[Genome], Floats]:
        """See ``Algorithm.front``."""
        return self._ledger.front()

    def rungs(self) -> list[Genome]:
        """See ``Algorithm.rungs``."""
        return list(self._ledger.start)

    def state(self) -> AlgorithmState:
        """See ``Algorithm.state``."""
        state = self._ledger.state()
        state.arrays["parents"] = pack_genomes(self._parents, self._space.layout)
        state.arrays["parents_Y"] = self._parents_Y.copy()
        state.arrays["parents_violation"] = self._parents_violation.copy()
        return state

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        self._ledger.restore(state)
        self._parents = unpack_genomes(state.arrays["parents"], self._space.layout)
        self._parents_Y = np.array(state.arrays["parents_Y"], dtype=np.float64)
        self._parents_violation = np.array(state.arrays["parents_violation"], dtype=np.float64)
