"""One-point crossover: the paper's, cut at a share of the chromosome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class OnePoint:
    """The head of the first parent and the tail of the second (Kuzmin et al. 2024, stage 4).

    Attributes:
        position: where the chromosomes are cut, as a share of their length (the paper's p_c = 0.6); None cuts
            at a place drawn anew for each child.
    """

    position: float | None = 0.6

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """The child of one cut. See ``Crossover``."""
        position = rng.random() if self.position is None else self.position
        cut = round(position * len(a))
        return np.concatenate([a[:cut], b[cut:]])
