"""The archive: every non-dominated genome that a search has seen, living or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaprune.evolve.dominance import is_efficient
from gaprune.genome import Floats, Genome


class Archive:
    """Genomes that none dominates by Deb's rule, sorted by the first objective, then the second and so on.

    Their violations are equal: 0 as soon as one keeps to the constraints, till then the least seen.

    Attributes:
        genomes: the genomes.
        Y: (k, m) array, their objectives, minimised.
        violation: (k,) array, by how much they do not keep to the constraints.
    """

    def __init__(self, objectives: int) -> None:
        self.genomes: list[Genome] = []
        self.Y: Floats = np.empty((0, objectives))
        self.violation: Floats = np.empty(0)

    def add(self, genomes: Sequence[Genome], Y: Floats, violation: Floats | None = None) -> None:
        """Take in what is not dominated, drop what has become so; of equal objectives the first stays.

        Args:
            genomes: n genomes.
            Y: (n, m) objectives, no NaN. Rows that are not finite have failed and never enter.
            violation: (n,) at least 0; ``None`` for all 0.
        """
        candidates = [*self.genomes, *genomes]
        values = np.concatenate([self.Y, Y])
        violations = np.concatenate([self.violation, np.zeros(len(Y)) if violation is None else violation])
        sound = np.flatnonzero(np.isfinite(values).all(axis=1) & np.isfinite(violations))
        efficient = sound[is_efficient(values[sound], violations[sound])]
        order = efficient[np.lexsort(values[efficient].T[::-1])]
        self.genomes = [candidates[index] for index in order]
        self.Y = values[order]
        self.violation = violations[order]
