"""How long a network takes, beside its original in the same sitting."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock
from torch import Tensor, nn

from gaprune.device import pinned
from gaprune.runs import in_words
from gaprune.runtimes.prepared import prepared
from gaprune.runtimes.stopwatch import Timing, time_calls

LOCK = "gaprune-latency.lock"
"""In the folder for temporary files: one measurement at a time on a machine, whoever makes it."""

FOR_ALL = 0o666
"""Mode of that file."""


@dataclass(frozen=True)
class Conditions:
    """What a time depends on besides the network.

    Attributes:
        runtime: ``torch``, ``compile``, ``onnxruntime`` or ``onnxruntime-int8``.
        batch: images of a call.
        threads: on the CPU.
        device: ``cpu`` or ``cuda``.
        hardware: name of the processor or GPU.
    """

    runtime: str
    batch: int
    threads: int
    device: str
    hardware: str

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """In words, for tables."""
        return in_words(self.record())


@dataclass(frozen=True)
class Latency:
    """How long a network takes for a batch.

    Attributes:
        seconds: the original's, times ``share``.
        low: lower end of its 95% interval.
        high: upper end of it.
        share: of the original's, measured in the same sitting, so that a busy machine slows both.
    """

    seconds: float
    low: float
    high: float
    share: float


class Clock(Protocol):
    """Tells how long networks take.

    Attributes:
        conditions: under which.
        reference: seconds of the original.
        counts: whether it knows without building a network.
    """

    counts: bool

    @property
    def conditions(self) -> Conditions: ...  # noqa: D102

    @property
    def reference(self) -> float: ...  # noqa: D102

    def __call__(self, masks: Any, network: Callable[[], nn.Module]) -> Latency:
        """The latency of a candidate.

        Args:
            masks: what it keeps.
            network: builds it, batch norms folded, in eval mode.

        Raises:
            MethodError: the runtime does not take it.
        """
        ...


class Stopwatch:
    """A clock that measures: the network and its original in turn.

    Args:
        original: batch norms folded, in eval mode, on the device.
        images: (batch, C, H, W) float32, normalised, on the device.
        conditions: under which.
        reference: seconds of the original, where they are known from before; measured now if not.

    Raises:
        MethodError: the runtime does not take the original.
    """

    counts = False

    def __init__(
        self, original: nn.Module, images: Tensor, conditions: Conditions, reference: float | None = None
    ) -> None:
        self._original = original
        self._images = images
        self.conditions = conditions
        self._call: Callable[[], object] | None = None
        if reference is None:
            (timing,) = self._timed([self._reference_call()])
            reference = timing.seconds
        self.reference = reference

    def __call__(self, masks: Any, network: Callable[[], nn.Module]) -> Latency:
        """See ``Clock``."""
        first, second = self._timed([self._prepared(network()), self._reference_call()])
        share = first.seconds / second.seconds
        scale = self.reference / second.seconds
        return Latency(share * self.reference, first.low * scale, first.high * scale, share)

    def _timed(self, calls: list[Callable[[], object]]) -> list[Timing]:
        device = torch.device(self.conditions.device)
        with alone(), pinned(self.conditions.threads):
            return time_calls(calls, device)

    def _reference_call(self) -> Callable[[], object]:
        if self._call is None:
            self._call = self._prepared(self._original)
        return self._call

    def _prepared(self, network: nn.Module) -> Callable[[], object]:
        with pinned(self.conditions.threads):
            return prepared(network, self._images, self.conditions.runtime, self.conditions.threads)

    def __getstate__(self) -> dict[str, Any]:
        """For a process elsewhere: sessions are made where they run."""
        return {**self.__dict__, "_call": None}


@contextmanager
def alone() -> Iterator[None]:
    """No other measurement on this machine meanwhile.

    Where the lock's file is another user's and may not be opened, none of this user's.
    """
    folder, user = Path(tempfile.gettempdir()), getattr(os, "getuid", lambda: 0)()
    lock = FileLock(folder / LOCK, mode=FOR_ALL)
    try:
        lock.acquire()
    except PermissionError:
        lock = FileLock(folder / f"{user}-{LOCK}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
