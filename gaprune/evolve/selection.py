"""Who lives on and who has children: NSGA-II's way and NSGA-III's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gaprune.evolve.dominance import Indices, niched_survivors, rank_and_crowd, survivors
from gaprune.evolve.tournament import crowded_tournament
from gaprune.genome import Floats


class Selection(Protocol):
    """Selection by Deb's rule; ``Y`` is (n, m), minimised, ``violation`` (n,), both infinite for what failed."""

    def survivors(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """(count,) different indices of those that live on."""
        ...

    def parents(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """(count,) indices of parents, which may repeat."""
        ...


@dataclass(frozen=True)
class Crowded:
    """Rank, then crowding distance: NSGA-II's."""

    def survivors(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """See ``Selection.survivors``."""
        return survivors(Y, count, violation)

    def parents(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """See ``Selection.parents``."""
        return crowded_tournament(*rank_and_crowd(Y, violation), count, rng)


@dataclass(frozen=True)
class Niched:
    """Rank, then niches around reference directions: NSGA-III's.

    Crowding distances say little of who should live on with three and more objectives: neighbours along one objective
    need be none along the others. Parents compete by them all the same; drawn from all alike, as NSGA-III has it,
    they come forward more slowly where evaluations are few.

    Attributes:
        directions: (k, m), see ``reference_directions``.
    """

    directions: Floats

    def survivors(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """See ``Selection.survivors``."""
        return niched_survivors(Y, count, self.directions, rng, violation)

    def parents(self, Y: Floats, violation: Floats, count: int, rng: np.random.Generator) -> Indices:
        """See ``Selection.parents``."""
        return crowded_tournament(*rank_and_crowd(Y, violation), count, rng)
