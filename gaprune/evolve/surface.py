"""Which ladder is best at a cost: the fitness of all rungs told, as a surface over tilts and costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from gaprune.evolve.surrogate import Surrogate
from gaprune.genome import Floats

FEWEST = 60
"""Rungs that must be known before guessing begins."""

LEAST_EXPLAINED = 0.3
"""Share of the differences between ladders that leaving one out must explain."""

UNIT = 0.3
"""Tilts, and OCTAVE logarithms of costs, in units in which the surrogate's first settings are about right."""
OCTAVE = 1.2

SAMPLES, ROUNDS, NARROWER = 256, 10, 0.75
"""Tilts of a round of the local search, its rounds, and by how much each is narrower than the one before."""


class Surface:
    """All rungs that were told, by tilt and cost, and a guess at what others would be worth.

    The fitness of a rung is the sum of the logarithms of its objectives, less that of the space's own ladder at its
    cost. What is learnt at one cost serves at others: slopes hold everywhere or change evenly with the logarithm of the
    cost, see ``Surrogate``.

    Args:
        sections: of the space.

    Attributes:
        rows: (n, sections + 2) tilt, cost and sum of logarithms.
    """

    def __init__(self, sections: int) -> None:
        self.rows: Floats = np.empty((0, sections + 2))
        self._model: Surrogate | None = None
        self._reach = 0.0

    def learn(self, tilts: Floats, costs: Floats, values: Floats) -> None:
        """Take in rungs.

        Args:
            tilts: (n, sections).
            costs: (n,) shares of the whole network's.
            values: (n, m) objectives; rungs with any that is not above 0 and finite are passed over.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            fitness = np.log(values).sum(axis=1)
        rows = np.column_stack([tilts, costs, fitness])
        self.rows = np.concatenate([self.rows, rows[np.isfinite(rows).all(axis=1) & (costs > 0) & (costs < 1)]])
        self._model = None

    def fit(self) -> bool:
        """Whether guessing works."""
        tilts, logs, fitness = self.rows[:, :-2], np.log(self.rows[:, -2]), self.rows[:, -1]
        own = ~tilts.any(axis=1)
        if len(fitness) < FEWEST or np.count_nonzero(own) < 2 or own.all():
            return False
        order = np.argsort(logs[own], kind="stable")
        gain = fitness - np.interp(logs, logs[own][order], fitness[own][order])
        with threadpool_limits(limits=1, user_api="blas"):
            self._model = Surrogate(_profiles(tilts, logs), gain)
        self._reach = float(np.sqrt((tilts**2).sum(axis=1)).max())
        return self._model.explained >= LEAST_EXPLAINED

    def guess(self, tilts: Floats, costs: Sequence[float]) -> Floats:
        """(n,) mean gain over the costs that is expected of (n, sections) ``tilts``; below 0 is better."""
        assert self._model is not None, "fit first"
        with threadpool_limits(limits=1, user_api="blas"):
            logs = [np.full(len(tilts), np.log(cost)) for cost in costs]
            found: Floats = np.mean([self._model.predict(_profiles(tilts, log)) for log in logs], axis=0)
        return found

    def lowest(self, costs: Sequence[float], start: Floats, rng: np.random.Generator) -> Floats:
        """(sections,) the tilt that is expected to be best at the costs, no further out than any that was told.

        Args:
            costs: shares of the whole network's.
            start: (sections,) where the local search begins.
            rng: of its samples.
        """
        best, least = start, float(self.guess(start[None], costs)[0])
        scale = self._reach / np.sqrt(len(start))
        for _ in range(ROUNDS):
            tilts = best + scale * rng.standard_normal((SAMPLES, len(start)))
            far = np.sqrt((tilts**2).sum(axis=1, keepdims=True)) / self._reach
            tilts /= np.maximum(far, 1.0)
            found = self.guess(tilts, costs)
            if found.min() < least:
                best, least = tilts[int(found.argmin())], float(found.min())
            scale *= NARROWER
        return best


def _profiles(tilts: Floats, logs: Floats) -> Floats:
    """(n, 1 + 2 sections) cost, tilts, and tilts times the cost."""
    place = (logs - np.log(0.12)) / OCTAVE
    return np.column_stack([place, tilts / UNIT, tilts / UNIT * place[:, None]])
