"""The breeder: repaired, unseen genomes, from nothing or from parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaprune.evolve.ledger import Ledger
from gaprune.evolve.ranked import RankedSpace
from gaprune.evolve.toolbox import Toolbox
from gaprune.genome import Bits, Genome


@dataclass(frozen=True)
class Child:
    """A genome as it was bred, repaired and packed once.

    Attributes:
        bits: (size,) repaired.
        genome: the same, packed.
    """

    bits: Bits
    genome: Genome


@dataclass(frozen=True)
class Breeder:
    """Makes genomes and notes them in the ledger.

    Attributes:
        space: what to search.
        toolbox: the operators, and how a population is made from nothing.
        ledger: knows what was asked for before.
    """

    space: RankedSpace
    toolbox: Toolbox
    ledger: Ledger

    def draw(self) -> list[Genome]:
        """A population from nothing, not noted and not necessarily unseen."""
        return self.toolbox.population()

    def first(self) -> list[Genome]:
        """The first generation."""
        return [self.admit(genome) for genome in self.draw()]

    def child(self, a: Genome, b: Genome) -> Genome:
        """A child of two parents."""
        unpack = self.space.layout.unpack
        return self._noted(self._unseen(self.toolbox.vary(unpack(a), unpack(b))).genome)

    def mutant(self, genome: Genome) -> Genome:
        """A mutated copy."""
        return self._noted(self._unseen(self.toolbox.mutate(self.space.layout.unpack(genome))).genome)

    def admit(self, genome: Genome) -> Genome:
        """A repaired genome, mutated on while it was seen before, and noted."""
        if self.ledger.is_seen(genome):
            genome = self._unseen(self.space.layout.unpack(genome)).genome
        return self._noted(genome)

    def pool(self, pairs: Sequence[tuple[Bits, Bits]], others: Sequence[Child]) -> list[Child]:
        """Children of pairs, all different, unseen and none of the ``others``; not noted.

        Fewer than there are pairs where the space has run out of new ones.
        """
        taken = {child.genome for child in others}
        found = []
        for a, b in pairs:
            child = self._unseen(self.toolbox.vary(a, b), taken)
            if child.genome not in taken and not self.ledger.is_seen(child.genome):
                taken.add(child.genome)
                found.append(child)
        return found

    def _unseen(self, bits: Bits, others: set[Genome] | None = None) -> Child:
        repair, mutate = self.space.repair, self.toolbox.mutate
        return Child(*self.ledger.unseen(repair(bits), lambda known: repair(mutate(known)), others or ()))

    def _noted(self, genome: Genome) -> Genome:
        self.ledger.note(genome)
        return genome
