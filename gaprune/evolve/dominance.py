"""DEAP's non-dominated sorting and crowding, for plain arrays: the only place that touches DEAP.

No ``deap.creator`` (it writes classes into a module) and none of DEAP's randomness is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from deap import base
from deap.tools import emo
from numpy.typing import NDArray

from gaprune.prune.genome import Floats

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class _Point:
    """What DEAP sorts: a row's index and its fitness."""

    index: int
    fitness: Any


def _points(Y: Floats) -> list[_Point]:
    """One point a row; each has its own fitness, as DEAP writes the crowding distance into it."""
    minimised = type("Minimised", (base.Fitness,), {"weights": (-1.0,) * Y.shape[1]})
    return [_Point(index, minimised(row)) for index, row in enumerate(Y.tolist())]


def rank_and_crowd(Y: Floats) -> tuple[Indices, Floats]:
    """Ranks (0 for the first front) and crowding distances of a population.

    Args:
        Y: (n, m) array, minimised, no NaN. A row with ``inf`` must be all ``inf``.

    Returns:
        (n,) ranks and (n,) crowding distances within the rank.
    """
    ranks = np.zeros(len(Y), dtype=np.intp)
    crowding = np.zeros(len(Y))
    points = _points(Y)
    for rank, front in enumerate(emo.sortNondominated(points, len(points))):
        emo.assignCrowdingDist(front)
        for point in front:
            ranks[point.index] = rank
            crowding[point.index] = point.fitness.crowding_dist
    return ranks, crowding


def survivors(Y: Floats, count: int) -> Indices:
    """Indices of the ``count`` best rows by rank, then by crowding (NSGA-II's environmental selection).

    Args:
        Y: (n, m) array, minimised, as for ``rank_and_crowd``.
        count: how many stay, at most n.
    """
    return np.array([point.index for point in emo.selNSGA2(_points(Y), count)], dtype=np.intp)


def is_efficient(Y: Floats) -> NDArray[np.bool_]:
    """(n,) mask of the non-dominated rows of ``Y``; of equal rows only the first counts."""
    no_worse = (Y[:, None, :] <= Y[None, :, :]).all(axis=2)
    better = no_worse & ~no_worse.T
    earlier_twin = np.triu(no_worse & no_worse.T, k=1)
    mask: NDArray[np.bool_] = np.logical_not(np.logical_or.reduce(better | earlier_twin, axis=0))
    return mask
