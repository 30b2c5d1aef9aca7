"""Layer-wise crossover: each section whole, from one parent or the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class LayerWise:
    """Uniform crossover over sections.

    A layer's genes are only meaningful together (how many stay, and which of them stand in for each other),
    so they are inherited together.

    Attributes:
        share: probability that a section comes from the second parent.
    """

    share: float = 0.5

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A child whose every section equals one parent's. See ``Crossover``."""
        child = a.copy()
        from_b = rng.random(len(space.sections)) < self.share
        for index in np.flatnonzero(from_b):
            part = space.sections[index].slice
            child[part] = b[part]
        return child
