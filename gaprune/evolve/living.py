"""Living genes: the part of a space that says something in some individuals, as a space of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits, Floats, Layout, Section, Shares


@dataclass(frozen=True)
class LivingGenes:
    """The space of the genes that live in some individuals; the others say 1, as repair would have them.

    Most connections of a narrow network are dead, because a neuron that they join is gone, and they are the least
    important ones. Operators that saw them would count them as kept, and take them away first, which changes nothing.

    Attributes:
        whole: the ranked space.
        alive: (size,) mask of the genes that are seen.
    """

    whole: RankedSpace
    alive: Bits

    @cached_property
    def layout(self) -> Layout:
        """Of the sections that have living genes."""
        sections, start = [], 0
        for section, size in zip(self.whole.sections, self._sizes, strict=True):
            if size:
                sections.append(Section(section.name, section.kind, start, size))
                start += size
        return Layout(tuple(sections))

    @property
    def importance(self) -> Floats:
        """As the whole space states it."""
        return self.whole.importance[self.alive]

    def restored(self, bits: Bits) -> Bits:
        """(size of the whole,) fresh bits that mean the same."""
        found = np.ones(len(self.alive), dtype=np.bool_)
        found[self.alive] = bits
        return found

    def repair(self, bits: Bits) -> Bits:
        """See ``Space.repair``."""
        return self.whole.repair(self.restored(bits))[self.alive]

    def live(self, bits: Bits) -> Bits:
        """See ``Space.live``."""
        return self.whole.live(self.restored(bits))[self.alive]

    def shares(self, level: float) -> Floats:
        """See ``Space.shares``."""
        return self.whole.shares(level)[np.array(self._sizes) > 0]

    def tilted(self, tilt: Floats) -> Shares:
        """See ``Space.tilted``."""
        seen = np.array(self._sizes) > 0
        whole = np.zeros(len(seen))
        whole[seen] = tilt
        shares = self.whole.tilted(whole)
        return lambda level: shares(level)[seen]

    def cost(self, bits: Bits) -> float:
        """See ``Space.cost``."""
        return self.whole.cost(self.restored(bits))

    @cached_property
    def _sizes(self) -> list[int]:
        return [int(np.count_nonzero(self.alive[section.slice])) for section in self.whole.sections]


@dataclass(frozen=True)
class RankedLiving(RankedSpace):
    """Living genes as operators see them: standings and levels are the whole space's.

    Attributes:
        genes: which ones, and how to get back.
    """

    genes: LivingGenes

    def level(self, cost: float) -> float:
        """See ``RankedSpace.level``."""
        return self.genes.whole.level(cost)


def living(space: RankedSpace, *individuals: Bits) -> RankedLiving | None:
    """The genes that live in any of the individuals; ``None`` where all do."""
    alive = np.logical_or.reduce([space.live(bits) for bits in individuals])
    if alive.all():
        return None
    genes = LivingGenes(space, alive)
    tied = [tied for section, tied in zip(space.sections, space.tied, strict=True) if alive[section.slice].any()]
    return RankedLiving(genes, space.standing[alive], tuple(tied), genes)
