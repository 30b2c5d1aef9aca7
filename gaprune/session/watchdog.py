"""What becomes of a candidate that hangs in this process.

Python cannot end a thread. But it can be made to raise an exception in the main thread, wherever that is in Python code
or waits in a call that a signal interrupts: there a candidate is ended as Ctrl-C would end it, and costs itself only.
What hangs in the code of a library hears of nothing; then all that is left is to end the process, if it is ours.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

_log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""How long a candidate that is interrupted may go on, or as long again as it could take if that is less."""

End = Callable[[str, Path, str], NoReturn]
"""Ends this process at once, with a line of why, the directory of the search, and what becomes of it on resume."""

APART = "it is tried there in a process of its own"
"""What becomes of a candidate on resume."""


class TookTooLong(BaseException):
    """Raised in a candidate that has taken longer than it may; a stranger's ``except Exception`` does not stop it."""


@dataclass
class _Watched:
    name: str
    deadline: float
    interrupted: bool = False


class Watchdog:
    """Watches one piece of work at a time from a thread of its own, which ends with the process.

    Args:
        end: ends this process with a line that says what hangs; ``None`` where the process is the caller's, who is
            warned instead.
        folder: of the search.
        advice: to who is warned.

    Attributes:
        overrun: whether the last piece of work has taken longer than it may.
    """

    def __init__(
        self,
        end: End | None,
        folder: Path,
        advice: str = "end this process and resume the run, or search with isolate=True",
    ) -> None:
        self._end = end
        self._folder = folder
        self._advice = advice
        self._grace = GRACE_SECONDS
        self._changed = threading.Condition()
        self._watched: _Watched | None = None
        self._thread: threading.Thread | None = None
        self._told = ""
        self._can_interrupt = self._closed = False
        self.overrun = False

    @contextmanager
    def watching(self, name: str, seconds: float, told: str) -> Iterator[None]:
        """Interrupt the body after so many seconds, from the main thread's point of view.

        Args:
            name: of the work, for the line, such as ``candidate 3fa9c2e1``.
            seconds: how long it may take; infinite for ever.
            told: what ``TookTooLong`` says.

        Raises:
            TookTooLong: it has taken longer.
        """
        if seconds > threading.TIMEOUT_MAX:
            yield
            return
        self._told, self._grace, self.overrun = told, min(seconds, GRACE_SECONDS), False
        with _interruptible(self._interrupt) as self._can_interrupt:
            self._set(_Watched(name, time.monotonic() + seconds))
            try:
                yield
            finally:
                self._watched = None  # at once: the lock may take a while

    def forget(self) -> None:
        """Watch nothing; for who has caught ``TookTooLong``, which may have come in the way of that."""
        self._watched = None

    def close(self) -> None:
        """End the thread. Harmless when done twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _set(self, watched: _Watched) -> None:
        with self._changed:
            self._watched = watched
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="gaprune-watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, between two steps of Python."""
        if self._watched is not None:
            raise TookTooLong(self._told)

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                one = self._watched
                if one is None or one.deadline > time.monotonic():
                    left = None if one is None else one.deadline - time.monotonic()
                    self._changed.wait(left if left is None or left < threading.TIMEOUT_MAX else None)
                    continue
                self._late(one)

    def _late(self, one: _Watched) -> None:
        """Interrupt what takes too long; what has been interrupted in vain ends the process."""
        self.overrun = True
        if not one.interrupted:
            one.interrupted, one.deadline = True, time.monotonic() + self._grace
            if self._can_interrupt:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
            return
        one.deadline = math.inf
        line = f"{one.name} {self._told}, and cannot be interrupted"
        if self._end is not None:
            self._end(line, self._folder, APART)
        _log.warning("%s: %s", line, self._advice)


@contextmanager
def _interruptible(handler: Callable[[int, FrameType | None], None]) -> Iterator[bool]:
    """Let a signal that nobody else uses call the handler, where this is the main thread; whether it does."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGURG) not in (signal.SIG_DFL, signal.SIG_IGN):
        yield False
        return
    before = signal.signal(signal.SIGURG, handler)
    try:
        yield True
    finally:
        signal.signal(signal.SIGURG, before)
