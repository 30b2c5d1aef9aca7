"""Random search: NSGA-II's first generation and operators, without selection."""

from __future__ import annotations

from collections.abc import Sequence

from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.breeder import Breeder
from gaprune.evolve.initial import Initial, informed
from gaprune.evolve.ledger import Ledger
from gaprune.evolve.ranked import rank
from gaprune.evolve.toolbox import make_toolbox
from gaprune.evolve.variation import Variation
from gaprune.genome import Floats, Genome, Space


class RandomSearch(Algorithm):
    """The control for NSGA-II: all that it does but learning from what it is told.

    The first generation is the same. For each later one a population is drawn anew in the same way, and half
    of its genomes, taken at random, are replaced by children of the drawn ones. No objective has any
    influence.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised.
        population: genomes a generation; at least 4.
        seed: of the one generator.
        initial: draws a population.
        variation: the operators; the defaults of ``Variation`` if None.

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
    ) -> None:
        self._ledger = Ledger("random", space.layout, objectives=objectives, population=population, seed=seed)
        ranked, rng = rank(space), self._ledger.rng
        toolbox = make_toolbox(ranked, rng, population=population, initial=initial, variation=variation or Variation())
        self._breeder = Breeder(ranked, toolbox, self._ledger)

    @property
    def generation(self) -> int:
        """See ``Algorithm.generation``."""
        return self._ledger.generation

    def ask(self) -> list[Genome]:
        """See ``Algorithm.ask``."""
        return self._ledger.ask(self._later if self.generation else self._breeder.first)

    def _later(self) -> list[Genome]:
        drawn = self._breeder.draw()
        return [self._one(drawn, genome) for genome in drawn]

    def _one(self, drawn: Sequence[Genome], genome: Genome) -> Genome:
        if self._ledger.rng.random() < 0.5:
            return self._breeder.admit(genome)
        a, b = self._ledger.rng.integers(len(drawn), size=2)
        return self._breeder.child(drawn[a], drawn[b])

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        self._ledger.tell(genomes, Y, violation)

    def front(self) -> tuple[list[Genome], Floats]:
        """See ``Algorithm.front``."""
        return self._ledger.front()

    def rungs(self) -> list[Genome]:
        """See ``Algorithm.rungs``."""
        return list(self._ledger.start)

    def state(self) -> AlgorithmState:
        """See ``Algorithm.state``."""
        return self._ledger.state()

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        self._ledger.restore(state)
