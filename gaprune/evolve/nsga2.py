"""NSGA-II with an archive, on DEAP's toolbox, sorting and crowding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.breeder import Breeder
from gaprune.evolve.initial import Initial, halving, informed
from gaprune.evolve.ledger import Ledger, pack_genomes, unpack_genomes
from gaprune.evolve.ranked import rank
from gaprune.evolve.screening import Screen
from gaprune.evolve.selection import Selection
from gaprune.evolve.toolbox import make_toolbox
from gaprune.evolve.variation import Variation
from gaprune.genome import Floats, Genome, Space

SCREENED = 0.75
"""Share of a generation that is bred on guesses; the others are children as they come."""


class NSGA2(Algorithm):
    """Elitist non-dominated sorting: of parents and as many children the best by rank and crowding survive.

    Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
    IEEE TEVC 6(2), 2002. Other than there, no genome is asked for twice while new ones can be found.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised.
        population: parents, and children a generation; at least 4.
        seed: of the one generator.
        initial: makes the first generation.
        variation: the operators; the defaults of ``Variation`` if None.
        screening: whether children are bred on guesses, see ``Screen``.
        selection: who lives on and who has children; NSGA-II's way if None.
        name: in saved states, which fit an algorithm of the same name only.

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
        initial: Initial = informed,
        variation: Variation | None = None,
        selection: Selection | None = None,
        screening: bool = True,
        name: str = "nsga2",
    ) -> None:
        self._ledger = Ledger(name, space.layout, objectives=objectives, population=population, seed=seed)
        ranked, rng = rank(space), self._ledger.rng
        self._toolbox = make_toolbox(
            ranked,
            rng,
            population=population,
            initial=initial,
            variation=variation or Variation(),
            selection=selection,
        )
        self._breeder = Breeder(ranked, self._toolbox, self._ledger)
        self._screen = Screen(self._breeder, objectives) if screening else None
        self._layout = space.layout
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
        genomes = self._breeder.first()
        return [genomes[index] for index in halving(len(genomes))]

    def _children(self) -> list[Genome]:
        count = self._ledger.population
        screened = self._screen.children(self._parents, round(SCREENED * count)) if self._screen else []
        children = [self._breeder.admit(child.genome) for child in screened]
        told = self._parents_Y, self._parents_violation
        winners = self._toolbox.parents(*told, 2 * (count - len(children)))
        return children + [self._breeder.child(self._parents[a], self._parents[b]) for a, b in winners.reshape(-1, 2)]

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        self._select(genomes, *self._ledger.tell(genomes, Y, violation), expected)

    def adopt(
        self, genomes: Sequence[Genome], Y: Floats, violation: Floats | None, *, expected: Floats | None = None
    ) -> None:
        """Take over what another search was told: to breed from, to learn from, and for the front.

        Args:
            genomes: n genomes in the order told; see ``tell`` for what else.
        """
        for genome in genomes:
            self._ledger.note(genome)
        self._select(genomes, *self._ledger.archived(genomes, Y, violation), expected)

    def plan(self, genomes: Sequence[Genome]) -> None:
        """Let these be the next generation, whatever else would be."""
        for genome in genomes:
            self._ledger.note(genome)
        self._ledger.ask(lambda: genomes)

    def _select(
        self, genomes: Sequence[Genome], told_Y: Floats, told_violation: Floats, expected: Floats | None
    ) -> None:
        """Learn from what was told, and let the best live on."""
        if self._screen:
            self._screen.learn(genomes, told_Y, told_violation, told_Y if expected is None else expected)
        candidates = [*self._parents, *genomes]
        values = np.concatenate([self._parents_Y, told_Y])
        violations = np.concatenate([self._parents_violation, told_violation])
        kept = self._toolbox.select(values, violations, self._ledger.population)
        self._parents = [candidates[index] for index in kept]
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
        state.arrays["parents"] = pack_genomes(self._parents, self._layout)
        state.arrays["parents_Y"] = self._parents_Y.copy()
        state.arrays["parents_violation"] = self._parents_violation.copy()
        if self._screen:
            state.arrays.update(self._screen.arrays())
        return state

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        self._ledger.restore(state)
        if ("told" in state.arrays) != (self._screen is not None):
            raise ValueError("the state is of another search: its screening differs")
        self._parents = unpack_genomes(state.arrays["parents"], self._layout)
        self._parents_Y = np.array(state.arrays["parents_Y"], dtype=np.float64)
        self._parents_violation = np.array(state.arrays["parents_violation"], dtype=np.float64)
        if self._screen:
            self._screen.restore(state.arrays)
