"""Slide: all sections shrink or grow together, as the ladder does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import resized
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class Slide:
    """Carries what is good about an individual to another cost.

    Each section's count is multiplied by what the space's ladder says between the two costs, so that sections that are
    wider or narrower than the ladder's stay so by the same factor.

    Attributes:
        strength: largest change of the cost, as a natural logarithm; about, where an individual is off the ladder.
        noise: largest blur of the order, as a share of the section.
    """

    strength: float = 0.8
    noise: float = 0.05

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy at another cost, its sections as far off the ladder as before. See ``Mutation``."""
        cost = space.cost(space.repair(bits))
        target = min(cost * math.exp(self.strength * rng.uniform(-1.0, 1.0)), 1.0)
        factors = space.shares(space.level(target)) / np.maximum(space.shares(space.level(cost)), 1e-9)
        child = bits.copy()
        for section, factor in zip(space.sections, factors, strict=True):
            genes = child[section.slice]
            count = max(1, round(float(factor) * int(np.count_nonzero(genes))))
            resized(genes, count, space, section, self.noise, rng)
        return child
