"""Seconds that a batch takes: warmed up, medians, a stated number of threads."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from gaprune.compress.method import Work
from gaprune.device import pinned

BATCHES = (1, 128)
WARM_UP = {"cpu": 1, "cuda": 10}
LEAST_REPEATS, MOST_REPEATS = 3, 50
ENOUGH_SECONDS = 0.3
"""Measured after which no further repeats are made, if there are enough."""


def timed_devices() -> tuple[str, ...]:
    """Types of devices that times are taken on here."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def seconds_of(work: Work, device: str, batch: int, threads: int) -> float:
    """Median seconds that a batch takes, its inputs on the device already.

    Args:
        work: what runs.
        device: its type.
        batch: number of samples.
        threads: on the CPU.

    Raises:
        MethodError: it does not run there.
    """
    where = torch.device(device)
    inputs = tuple(tensor.to(where) for tensor in work.task.inputs(batch))
    with pinned(threads):
        predict = work.runner.predictor(where, threads)
        return median_seconds(lambda: predict(inputs), where)


def median_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median time of a call, after some that do not count."""
    for _ in range(WARM_UP[device.type]):
        call()
    times: list[float] = []
    while len(times) < LEAST_REPEATS or (sum(times) < ENOUGH_SECONDS and len(times) < MOST_REPEATS):
        _wait(device)
        began = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
