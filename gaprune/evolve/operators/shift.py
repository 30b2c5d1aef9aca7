"""Shift: one section pays for another, at about the same cost."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import Indices, lowest, noisy_standing
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits, Section


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Shrinks one section and grows another until the cost is what it was.

    Where the receiving section is full before that, the giving one shrinks less.

    Attributes:
        strength: largest change of the giving section's count, as a natural logarithm.
        noise: largest blur of the order, as a share of the section.
        tolerance: difference of cost that is near enough, as a share of the cost.
        trials: most counts that are tried; two or three are usual.
    """

    strength: float = 0.4
    noise: float = 0.1
    tolerance: float = 0.005
    trials: int = 12

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy of about equal cost, or an equal copy where no section can grow. See ``Mutation``."""
        pair = _giver_and_receiver(bits, space, rng)
        if pair is None:
            return bits.copy()
        leaving = self._leaving(bits, pair[0], space, rng)
        joining = self._joining(bits, pair[1], space, rng)

        def moved(leave: int, join: int) -> Bits:
            child = bits.copy()
            child[leaving[:leave]] = False
            child[joining[:join]] = True
            return child

        @functools.cache
        def cost(leave: int, join: int) -> float:
            return space.cost(space.repair(moved(leave, join)))

        goal, leave, join = cost(0, 0), len(leaving), len(joining)
        if cost(leave, join) >= goal:
            return moved(leave, self._solve(lambda count: cost(leave, count), join, goal))
        return moved(leave - self._solve(lambda spared: cost(leave - spared, join), leave - 1, goal), join)

    def _leaving(self, bits: Bits, giver: Section, space: RankedSpace, rng: np.random.Generator) -> Indices:
        """The genes that the giver may lose, least important first."""
        kept = np.flatnonzero(bits[giver.slice])
        scores = noisy_standing(space, giver, kept, self.noise, rng)
        chosen = lowest(scores, max(1, round(-math.expm1(-self.strength * rng.random()) * len(kept))))
        return giver.start + kept[chosen[np.argsort(scores[chosen])]]

    def _joining(self, bits: Bits, receiver: Section, space: RankedSpace, rng: np.random.Generator) -> Indices:
        """All genes that the receiver may gain, most important first."""
        removed = np.flatnonzero(~bits[receiver.slice])
        scores = noisy_standing(space, receiver, removed, self.noise, rng)
        return receiver.start + removed[np.argsort(-scores)]

    def _solve(self, cost: Callable[[int], float], high: int, goal: float) -> int:
        """The count from 0 to ``high`` whose cost, which grows with it, comes nearest to ``goal``.

        False position, with a bisection every third time against its slow corner.
        """
        low, low_cost, high_cost = 0, cost(0), cost(high)
        best = min((abs(low_cost - goal), low), (abs(high_cost - goal), high))
        for trial in range(self.trials):
            if best[0] <= self.tolerance * goal or high - low < 2 or not low_cost < goal < high_cost:
                break
            share = 0.5 if trial % 3 == 2 else (goal - low_cost) / (high_cost - low_cost)
            count = min(high - 1, max(low + 1, low + round(share * (high - low))))
            value = cost(count)
            best = min(best, (abs(value - goal), count))
            if value < goal:
                low, low_cost = count, value
            else:
                high, high_cost = count, value
        return best[1]


def _giver_and_receiver(bits: Bits, space: RankedSpace, rng: np.random.Generator) -> tuple[Section, Section] | None:
    """Two different sections, one with genes to give and one with room, or None."""
    counts = [int(np.count_nonzero(bits[section.slice])) for section in space.sections]
    givers = [index for index, count in enumerate(counts) if count > 0]
    receivers = [index for index, count in enumerate(counts) if count < space.sections[index].size]
    pairs = [(giver, receiver) for giver in givers for receiver in receivers if giver != receiver]
    if not pairs:
        return None
    giver, receiver = pairs[int(rng.integers(len(pairs)))]
    return space.sections[giver], space.sections[receiver]
