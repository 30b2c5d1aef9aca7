"""Profiles: a genome in a few numbers, from which its objectives can be guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits, Floats

LEAST_COST = 1e-4


@dataclass(frozen=True)
class Profiler:
    """Makes profiles of repaired bit vectors.

    Attributes:
        space: the genomes.
    """

    space: RankedSpace

    def __call__(self, bits: Bits) -> Floats:
        """(1 + 2 sections,) float64: the cost, and how each section departs from the ladder and from the order.

        First the logarithm of the cost; then for each section the logarithm of its count over the ladder's at that
        cost; then for each section the share of its kept genes that the order of importance would not keep. Dead genes
        do not count.
        """
        cost = max(self.space.cost(bits), LEAST_COST)
        shares = self.space.shares(self.space.level(cost))
        live = self.space.live(bits)
        departures, displaced = [], []
        for section, share, order in zip(self.space.sections, shares, self._orders, strict=True):
            alive = live[section.slice]
            kept = bits[section.slice] & alive
            count, most = int(np.count_nonzero(kept)), int(np.count_nonzero(alive))
            departures.append(math.log((count + 0.5) / (max(share, 0.0) * most + 0.5)))
            standing = self.space.standing[section.slice]
            if most < section.size:
                order = -np.sort(-standing[alive])
            least = order[count - 1] if count else 0.0
            displaced.append(int(np.count_nonzero(kept & (standing < least))) / max(count, 1))
        return np.array([math.log(cost), *departures, *displaced])

    @cached_property
    def _orders(self) -> list[NDArray[np.float32]]:
        """Standings of each section, highest first."""
        return [-np.sort(-self.space.standing[section.slice]) for section in self.space.sections]
