"""The archive: every non-dominated genome that a search has seen, living or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaprune.evolve.dominance import is_efficient
from gaprune.prune.genome import Floats, Genome


class Archive:
    """A set of mutually non-dominated genomes, sorted by the first objective, then the second and so on.

    Attributes:
        genomes: the genomes.
        Y: (k, m) array, their objectives, minimised.
    """

    def __init__(self, objectives: int) -> None:
        self.genomes: list[Genome] = []
        self.Y: Floats = np.empty((0, objectives))

    def add(self, genomes: Sequence[Genome], Y: Floats) -> None:
        """Take in what is not dominated, drop what has become so; of equal objectives the first stays.

        Args:
            genomes: n genomes.
            Y: (n, m) objectives, no NaN. Rows that are not finite have failed and never enter.
        """
        candidates = [*self.genomes, *genomes]
        values = np.concatenate([self.Y, Y])
        sound = np.flatnonzero(np.isfinite(values).all(axis=1))
        efficient = sound[is_efficient(values[sound])]
        order = efficient[np.lexsort(values[efficient].T[::-1])]
        self.genomes = [candidates[index] for index in order]
        self.Y = values[order]
