"""Resize: a few sections shrink or grow along the order of importance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import pick_sections, resized
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Changes how many genes some sections keep.

    Shrinking drops the least important kept genes, growing adds the most important removed ones, both with
    some noise in the order.

    Attributes:
        sections: mean number of sections that change.
        strength: largest change of a section's count, as a natural logarithm.
        noise: largest blur of the order, as a share of the section.
    """

    sections: float = 1.5
    strength: float = 0.4
    noise: float = 0.1

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy with some sections smaller or larger by at least one gene. See ``Mutation``."""
        child = bits.copy()
        for section in pick_sections(space.sections, self.sections, rng):
            genes = child[section.slice]
            count = int(np.count_nonzero(genes))
            grow = count == 0 or (count < section.size and rng.random() < 0.5)
            step = math.expm1(self.strength * rng.random())
            changed = max(1, round(count * (step if grow else step / (1 + step))))
            resized(genes, count + changed if grow else count - changed, space, section, self.noise, rng)
        return child
