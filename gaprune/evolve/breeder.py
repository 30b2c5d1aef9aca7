"""The breeder: repaired, unseen genomes, from nothing or from parents."""

from __future__ import annotations

from dataclasses import dataclass

from gaprune.evolve.initial import Initial
from gaprune.evolve.ledger import Ledger
from gaprune.evolve.ranked import RankedSpace
from gaprune.evolve.variation import Variation
from gaprune.prune.genome import Bits, Genome

TRIES = 20


@dataclass(frozen=True)
class Breeder:
    """Makes genomes and notes them in the ledger, whose generator it draws from.

    Attributes:
        space: what to search.
        initial: makes genomes from nothing.
        variation: makes children.
        ledger: knows what was asked for before.
    """

    space: RankedSpace
    initial: Initial
    variation: Variation
    ledger: Ledger

    def draw(self) -> list[Genome]:
        """A population from nothing, not noted and not necessarily unseen."""
        return self.initial(self.space, self.ledger.population, self.ledger.rng)

    def first(self) -> list[Genome]:
        """The first generation."""
        return [self.admit(self.space.layout.unpack(genome)) for genome in self.draw()]

    def child(self, a: Genome, b: Genome) -> Genome:
        """A child of two parents."""
        unpack = self.space.layout.unpack
        return self.admit(self.variation(unpack(a), unpack(b), space=self.space, rng=self.ledger.rng))

    def admit(self, bits: Bits) -> Genome:
        """``bits`` repaired, mutated on while they were seen before, and noted.

        After a bounded number of mutations a seen genome is let through: small spaces run out of new ones.
        """
        repaired = self.space.repair(bits)
        genome = self.space.layout.pack(repaired)
        for _ in range(TRIES):
            if not self.ledger.is_seen(genome):
                break
            repaired = self.space.repair(self.variation.mutate(repaired, space=self.space, rng=self.ledger.rng))
            genome = self.space.layout.pack(repaired)
        self.ledger.note(genome)
        return genome
