"""How long calls take: warmed up, in turn, until the median of each is known well enough."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

WARM_UP_CALLS, WARM_UP_SECONDS = 3, 0.05
LEAST, MOST = 9, 400
"""Rounds of repeats, at least and at most."""

WITHIN = 0.05
"""Half of an interval, as a share of the median, that is narrow enough."""

SHORTEST = 5e-4
"""Seconds of a repeat: calls that take less are repeated inside it."""

TWO_SIDED = 1.96
"""Standard deviations of a normal distribution that hold 95%."""


@dataclass(frozen=True)
class Timing:
    """How long one call takes.

    Attributes:
        seconds: median of the repeats.
        low: lower end of the median's 95% interval.
        high: upper end of it.
        repeats: how many there were.

    >>> Timing.of([0.010, 0.011, 0.012]).seconds
    0.011
    """

    seconds: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, taken: Sequence[float]) -> Timing:
        """From the seconds of each repeat, in any order.

        The interval is between order statistics (Conover, "Practical Nonparametric Statistics", 1999, 3.2): nothing
        is assumed of how times are distributed.
        """
        ordered, count = sorted(taken), len(taken)
        reach = TWO_SIDED * math.sqrt(count) / 2
        low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
        return cls(statistics.median(ordered), ordered[max(low, 0)], ordered[min(high, count - 1)], count)

    @property
    def within(self) -> float:
        """Half of the interval, as a share of the median."""
        return (self.high - self.low) / 2 / self.seconds


def time_calls(
    calls: Sequence[Callable[[], object]],
    device: torch.device | str = "cpu",
    *,
    within: float = WITHIN,
    patience: float = 3.0,
) -> list[Timing]:
    """Time calls in turn, so that what slows the machine down meanwhile slows none alone.

    Args:
        calls: each does the same at every call; inputs are on the device already.
        device: whose time it is: on CUDA measured by events, elsewhere by the clock.
        within: half of each interval, as a share of the median, at which there are enough repeats.
        patience: seconds a call, after which there are no further ones, however wide the interval is.

    Returns:
        One timing a call, in their order.
    """
    where = torch.device(device)
    inner = [_warm(call, where) for call in calls]
    taken: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    while len(taken[0]) < MOST:
        for call, count, times in zip(calls, inner, taken, strict=True):
            times.append(_seconds(call, count, where))
        if len(taken[0]) < LEAST:
            continue
        if all(Timing.of(times).within <= within for times in taken):
            break
        if time.perf_counter() - began > patience * len(calls):
            break
    return [Timing.of(times) for times in taken]


def _warm(call: Callable[[], object], device: torch.device) -> int:
    """Call it until it is warm; how many calls make a repeat."""
    began, called, last = time.perf_counter(), 0, math.inf
    while called < WARM_UP_CALLS or time.perf_counter() - began < WARM_UP_SECONDS:
        last, called = min(last, _seconds(call, 1, device)), called + 1
    return max(1, math.ceil(SHORTEST / max(last, 1e-7)))


def _seconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    """Seconds that one of ``count`` calls takes."""
    if device.type == "cuda":
        return _cuda_seconds(call, count, device)
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def _cuda_seconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    with torch.cuda.device(device):
        event: Any = torch.cuda.Event
        start, end = (event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / count
