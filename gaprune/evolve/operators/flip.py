"""Flip: a few bits at random, whatever their importance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import pick_sections
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Flips one bit and a little more in large sections: the mutation that can reach any genome.

    Attributes:
        sections: mean number of sections that change.
        strength: mean share of a changed section's genes that flips beyond the first.
    """

    sections: float = 1.5
    strength: float = 0.01

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy with at least one bit flipped. See ``Mutation``."""
        child = bits.copy()
        for section in pick_sections(space.sections, self.sections, rng):
            count = min(section.size, 1 + int(rng.poisson(self.strength * section.size)))
            child[section.start + rng.choice(section.size, count, replace=False)] ^= True
        return child
