"""The breeder: repaired, unseen genomes, from nothing or from parents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

    def mutant(self, genome: Genome) -> Genome:
        """A mutated copy."""
        bits = self.space.layout.unpack(genome)
        return self.admit(self.variation.mutate(bits, space=self.space, rng=self.ledger.rng))

    def pool(self, pairs: Sequence[tuple[Bits, Bits]], others: Sequence[Bits]) -> list[Bits]:
        """Children of pairs, repaired, all different, unseen and none of the ``others``; not noted.

        Fewer than there are pairs where the space has run out of new ones.
        """
        taken = {self.space.layout.pack(bits).key for bits in others}
        found = []
        for a, b in pairs:
            bits = self._unseen(self.variation(a, b, space=self.space, rng=self.ledger.rng), taken)
            genome = self.space.layout.pack(bits)
            if genome.key not in taken and not self.ledger.is_seen(genome):
                taken.add(genome.key)
                found.append(bits)
        return found

    def admit(self, bits: Bits) -> Genome:
        """``bits`` repaired, mutated on while they were seen before, and noted.

        After a bounded number of mutations a seen genome is let through: small spaces run out of new ones.
        """
        genome = self.space.layout.pack(self._unseen(bits))
        self.ledger.note(genome)
        return genome

    def _unseen(self, bits: Bits, others: Collection[str] = ()) -> Bits:
        repaired = self.space.repair(bits)
        for _ in range(TRIES):
            genome = self.space.layout.pack(repaired)
            if not self.ledger.is_seen(genome) and genome.key not in others:
                break
            repaired = self.space.repair(self.variation.mutate(repaired, space=self.space, rng=self.ledger.rng))
        return repaired
