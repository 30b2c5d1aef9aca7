"""Deb's rule, with DEAP's sorting, crowding and niching for plain arrays, and moocore's test of dominance.

What violates the constraints less comes first, whatever its objectives; Pareto dominance decides between equal
violations, no violation included (Deb, "An efficient constraint handling method for genetic algorithms", CMAME 186,
2000). A failed candidate violates infinitely.

No ``deap.creator`` (it writes classes into a module). NSGA-III's niching draws from NumPy's global state: it is seeded
from the search's generator for the call and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import moocore
import numpy as np
from deap import base
from deap.tools import emo
from numpy.typing import NDArray

from gaprune.genome import Floats

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class _Point:
    """What DEAP sorts: a row's index and its fitness."""

    index: int
    fitness: Any


@cache
def fitness_class(objectives: int) -> Any:
    """DEAP's fitness of so many objectives, all minimised."""
    return type("Minimised", (base.Fitness,), {"weights": (-1.0,) * objectives})


def _points(Y: Floats) -> list[_Point]:
    """One point a row; each has its own fitness, as DEAP writes the crowding distance into it."""
    minimised = fitness_class(Y.shape[1])
    return [_Point(index, minimised(row)) for index, row in enumerate(Y.tolist())]


def rank_and_crowd(Y: Floats, violation: Floats | None = None) -> tuple[Indices, Floats]:
    """Ranks by Deb's rule (0 for the first front) and crowding distances of a population.

    Args:
        Y: (n, m) array, minimised, no NaN. A row with ``inf`` must be all ``inf``.
        violation: (n,) of the constraints, 0 where there is none; ``None`` for all 0.

    Returns:
        (n,) ranks and (n,) crowding distances within the rank.
    """
    ranks = np.zeros(len(Y), dtype=np.intp)
    crowding = np.zeros(len(Y))
    rank = 0
    for rows in _classes(Y, violation):
        points = _points(Y[rows])
        for front in emo.sortNondominated(points, len(points)):
            emo.assignCrowdingDist(front)
            for point in front:
                ranks[rows[point.index]] = rank
                crowding[rows[point.index]] = point.fitness.crowding_dist
            rank += 1
    return ranks, crowding


def survivors(Y: Floats, count: int, violation: Floats | None = None) -> Indices:
    """Indices of the ``count`` best rows by rank, then by crowding (NSGA-II's environmental selection).

    Args:
        Y: (n, m) array, minimised, as for ``rank_and_crowd``.
        count: how many stay, at most n.
        violation: as for ``rank_and_crowd``.
    """

    def select(values: Floats, room: int) -> list[int]:
        return [point.index for point in emo.selNSGA2(_points(values), room)]

    return _by_class(Y, count, violation, select)


def niched_survivors(
    Y: Floats, count: int, reference: Floats, rng: np.random.Generator, violation: Floats | None = None
) -> Indices:
    """Indices of the ``count`` best rows by rank, then by niche (NSGA-III's environmental selection).

    Deb, Jain, "An evolutionary many-objective optimization algorithm using reference-point-based nondominated sorting
    approach, part I", IEEE TEVC 18(4), 2014; without memory of earlier generations' extreme points.

    Args:
        Y: (n, m) array, minimised, as for ``rank_and_crowd``.
        count: how many stay, at most n.
        reference: (k, m) directions that niches lie around.
        rng: source of all randomness.
        violation: as for ``rank_and_crowd``.
    """

    def select(values: Floats, room: int) -> list[int]:
        if room == len(values) or not np.isfinite(values).all():
            return list(range(room))
        fronts = emo.sortNondominated(_points(values), room)
        *whole, last = fronts
        chosen = [point.index for front in whole for point in front]
        order = [*chosen, *(point.index for point in last)]
        niches, distances = _niches(values[order], len(fronts[0]), reference)
        taken = np.bincount(niches[: len(chosen)], minlength=len(reference))
        with _numpys_global_state(rng):
            rest = emo.niching(last, room - len(chosen), niches[len(chosen) :], distances[len(chosen) :], taken)
        return [*chosen, *(point.index for point in rest)]

    return _by_class(Y, count, violation, select)


def reference_directions(objectives: int, count: int) -> Floats:
    """(k, m) directions spread evenly over the positive orthant, at most ``count`` (but one an objective at least).

    Das and Dennis's lattice, as fine as fits. Where it has no point in the middle, a second one of half the size takes
    the room that is left, as Deb and Jain do for many objectives.
    """
    steps, outer = _lattice(objectives, count)
    _, inner = _lattice(objectives, count - len(outer))
    if steps >= objectives or len(outer) + len(inner) > count:
        return outer
    return np.concatenate([outer, 0.5 * inner + 0.5 / objectives])


def is_efficient(Y: Floats, violation: Floats | None = None) -> NDArray[np.bool_]:
    """(n,) mask of the rows of ``Y`` that none dominates by Deb's rule; of equal rows only the first counts.

    ``violation``, (n,), is 0 where it is ``None``.
    """
    mask = np.zeros(len(Y), dtype=np.bool_)
    for rows in _classes(Y, violation)[:1]:
        mask[rows] = moocore.is_nondominated(np.ascontiguousarray(Y[rows], dtype=np.float64))
    return mask


def _classes(Y: Floats, violation: Floats | None) -> list[Indices]:
    """The rows of each violation, least first; rows that are not finite have failed and come last."""
    levels = np.zeros(len(Y)) if violation is None else violation
    levels = np.where(np.isfinite(Y).all(axis=1), levels, np.inf)
    return [np.flatnonzero(levels == level) for level in np.unique(levels)]


def _by_class(Y: Floats, count: int, violation: Floats | None, select: Callable[[Floats, int], list[int]]) -> Indices:
    """``count`` rows, class by class; ``select`` takes (values, room) and gives so many of the values' indices."""
    kept: list[int] = []
    for rows in _classes(Y, violation):
        room = min(count - len(kept), len(rows))
        if room:
            kept += rows[select(Y[rows], room)].tolist()
    return np.array(kept, dtype=np.intp)


def _niches(values: Floats, first: int, reference: Floats) -> tuple[Indices, Floats]:
    """(n,) nearest direction of each row and (n,) distance to it; the ``first`` rows are the first front.

    DEAP wants the ideal point at 0: elsewhere it takes intercepts as if they were measured from 0.
    """
    ideal = values.min(axis=0)
    span = np.ptp(values, axis=0)
    scaled = (values - ideal) / np.where(span > 0, span, 1.0)
    worst = scaled[:first].max(axis=0)
    worst[worst == 0] = 1.0
    origin = np.zeros(values.shape[1])
    with np.errstate(all="ignore"):  # nearly singular hyperplanes; DEAP then takes the worst point
        intercepts = emo.find_intercepts(emo.find_extreme_points(scaled, origin), origin, worst, worst)
    niches, distances = emo.associate_to_niche(scaled, reference, origin, intercepts)
    return niches, distances


def _lattice(objectives: int, count: int) -> tuple[int, Floats]:
    """The finest lattice of at most ``count`` directions, at least of one step, and its number of steps."""
    steps, found = 1, np.eye(objectives)
    while objectives > 1 and len(finer := emo.uniform_reference_points(objectives, steps + 1)) <= count:
        steps, found = steps + 1, finer
    return steps, found


@contextmanager
def _numpys_global_state(rng: np.random.Generator) -> Iterator[None]:
    """NumPy's global state seeded from ``rng``, and afterwards as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
