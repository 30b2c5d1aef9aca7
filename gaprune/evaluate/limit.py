"""How long a candidate may take before it is given up."""

from __future__ import annotations

import math

from gaprune.evaluate.outcome import Outcome

FACTOR = 10.0
"""Times the slowest candidate so far that a candidate may take."""

LEAST_SECONDS = 60.0
"""What each may take in any case."""

FIRST_SECONDS, FEW = 600.0, 4
"""What each may take in any case before so many have been measured to their end: the first may be small ones."""


class TimeLimit:
    """The seconds that a candidate may take; it follows those that are done unless somebody has said.

    Args:
        seconds: asked for; 0 is no limit, ``None`` is ten times the slowest so far, and at least a minute.

    Examples:
        >>> limit = TimeLimit()
        >>> limit.seconds
        600.0
        >>> for _ in range(4):
        ...     limit.note(Outcome("00", {}, {}, seconds=9.0))
        >>> limit.seconds
        90.0
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._asked = seconds
        self._slowest = 0.0
        self._expected = 0.0
        self._measured = 0

    def note(self, outcome: Outcome) -> None:
        """A candidate is done. One that failed, or was not measured to its end, tells nothing."""
        if outcome.failure is None and not outcome.bound:
            self._slowest = max(self._slowest, outcome.seconds)
            self._measured += 1

    def expect(self, seconds: float) -> None:
        """Say what a candidate may last, as long as few have been measured: less than the search's preparation."""
        self._expected = seconds

    @property
    def seconds(self) -> float:
        """The limit by now; infinite where there is none."""
        if self._asked is not None:
            return self._asked or math.inf
        if self._measured >= FEW:
            return max(FACTOR * self._slowest, LEAST_SECONDS)
        return max(FACTOR * max(self._slowest, self._expected), FIRST_SECONDS)


def too_long(seconds: float) -> str:
    """Why a candidate was given up.

    >>> too_long(60)
    'took longer than 60 s, see --candidate-timeout'
    """
    return f"took longer than {seconds:.3g} s, see --candidate-timeout"
