"""Rungs of a ladder: which genes a level keeps, and how the level that is wanted is found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gaprune.genome import Bits, Layout, Space

Order = NDArray[np.intp]
"""The genes of a section, those to keep first."""

STEPS = 16
"""Halvings of the level at most."""

TOLERANCE = 0.005
"""Difference of cost that is near enough, as a share of the budget."""


def keep_first(layout: Layout, orders: Sequence[Order], counts: Sequence[int]) -> Bits:
    """(size,) bits, not repaired, of the first genes of each section's order, as many as its count says."""
    bits = np.zeros(layout.size, dtype=np.bool_)
    for section, order, count in zip(layout.sections, orders, counts, strict=True):
        bits[section.start + order[:count]] = True
    return bits


def bisect_level(compare: Callable[[float], float], steps: int) -> tuple[float, float]:
    """The levels from 0 to 1, a little apart, between which what is wanted lies.

    Args:
        compare: negative where a level gives too little, positive where it gives too much, 0 where that will do.
        steps: halvings at most.

    Returns:
        The highest level that was found to give too little (0 if none), the lowest that gave too much (1 if none).

    Example:
        >>> bisect_level(lambda level: level - 0.3, 2)
        (0.25, 0.5)
    """
    low, high = 0.0, 1.0
    for _ in range(steps):
        level = (low + high) / 2
        verdict = compare(level)
        if verdict == 0:
            break
        low, high = (level, high) if verdict < 0 else (low, level)
    return low, high


def nearest(
    space: Space,
    budget: float,
    member: Callable[[float], Bits],
    *,
    tolerance: float = TOLERANCE,
    within: bool = False,
) -> Bits:
    """The repaired vector on a ladder that costs ``budget``, or as nearly as is found.

    Args:
        space: says what a vector costs.
        budget: share of the whole network's FLOPs.
        member: from a level to a repaired vector.
        tolerance: difference of cost that is near enough, as a share of the budget.
        within: whether one that costs more than that is taken only where nothing cheaper is found.
    """
    best, best_miss = member(1.0), math.inf
    most = budget * (1 + tolerance) if within else math.inf

    def compare(level: float) -> float:
        nonlocal best, best_miss
        bits = member(level)
        cost = space.cost(bits)
        miss = abs(cost - budget) + (1.0 if cost > most else 0.0)
        if miss < best_miss:
            best, best_miss = bits, miss
        return 0.0 if best_miss <= tolerance * budget else cost - budget

    bisect_level(compare, STEPS)
    return best
