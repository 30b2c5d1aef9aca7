"""How much of a search or of a front is done, where the costs of candidates are known before they are built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PRIOR = 0.1
"""What a candidate takes besides its FLOPs, in FLOPs of the original, until enough of them have been timed."""

TIMED = 4
"""Candidates that must have been timed before their seconds say what is besides FLOPs."""


@dataclass(frozen=True)
class Pieces:
    """Some candidates.

    Attributes:
        count: how many; a guess may be a fraction.
        cost: sum of their FLOPs, as shares of the original's.
    """

    count: float = 0.0
    cost: float = 0.0

    @classmethod
    def of(cls, costs: Iterable[float]) -> Pieces:
        """Of candidates with these costs.

        >>> Pieces.of([0.5, 0.25])
        Pieces(count=2, cost=0.75)
        """
        listed = list(costs)
        return cls(len(listed), sum(listed))

    def times(self, factor: float) -> Pieces:
        """So many times as many, alike."""
        return Pieces(self.count * factor, self.cost * factor)

    def __add__(self, other: Pieces) -> Pieces:
        """Both."""
        return Pieces(self.count + other.count, self.cost + other.cost)


class Workload:
    """The share of the work that is done: a candidate takes a constant time and a time that grows with its FLOPs.

    Both are fitted to what has been timed.

    Args:
        base: share of all the work that earlier processes have done, 0 to 1.

    >>> work = Workload()
    >>> work.note(0.9, seconds=10.0)
    >>> round(work.share(Pieces.of([0.4, 0.1])), 3)
    0.588
    """

    def __init__(self, base: float = 0.0) -> None:
        self._base = base
        self._done = Pieces()
        self._timed: list[tuple[float, float]] = []

    def note(self, cost: float, seconds: float) -> None:
        """A candidate is done.

        Args:
            cost: its FLOPs, as a share of the original's.
            seconds: time that it took.
        """
        self._done += Pieces(1, cost)
        self._timed.append((cost, seconds))

    def share(self, left: Pieces) -> float:
        """What is done of all, 0 to 1, with these candidates left."""
        each, by_cost = self._weights()
        done, more = (each * pieces.count + by_cost * pieces.cost for pieces in (self._done, left))
        return self._base + (1 - self._base) * done / (done + more) if done + more > 0 else self._base

    def _weights(self) -> tuple[float, float]:
        """Of a candidate, and of the original's FLOPs: least squares, neither below 0."""
        count = len(self._timed)
        if count < TIMED:
            return PRIOR, 1.0
        mean, seconds = (sum(pair[i] for pair in self._timed) / count for i in (0, 1))
        variance = sum((cost - mean) ** 2 for cost, _ in self._timed)
        shared = sum((cost - mean) * (time - seconds) for cost, time in self._timed)
        if variance <= 0 or shared <= 0:
            return 1.0, 0.0
        slope = shared / variance
        return (seconds - slope * mean, slope) if seconds > slope * mean else (0.0, 1.0)
