"""A crew of one process beside this one, which may end or be ended without harm. No Ray runs for it.

It begins as a fresh Python that is told where modules are, so that nothing of this process (threads, locks, a CUDA
context) is half in it, and a script that has no ``if __name__`` is not run again.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from ray import cloudpickle

from gaprune.cluster.dispatch import Done, Event, Lost, Raised, Ready
from gaprune.errors import BackendError, first_line

ENTRY = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from gaprune.cluster.child import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)
"""What the process begins with: its end of the pipe, this process's number, and where modules are."""

MOST_FALSE_STARTS = 2
"""Processes that may end one after the other before they are ready."""

LOOK_SECONDS = 0.2
"""How often to see whether a process has ended whose pipe something else holds open."""

DIE_WITH_PARENT = 1
"""Linux's name for it in ``prctl``."""

READY, DONE, RAISED, FAILED = "ready", "done", "raised", "failed"


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes]
    pipe: Connection
    ready: bool = False


class ChildCrew:
    """A crew (``gaprune.cluster.dispatch.Crew``) of one worker.

    Args:
        make: called once by each process, gives the function from job to result; pickled.
    """

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._made = cloudpickle.dumps(make)
        self._child: _Child | None = None
        self._started = 0
        self._false_starts = 0
        self._gone: Lost | None = None

    def __len__(self) -> int:
        return int(self._child is not None and self._child.ready)

    def recruit(self, most: int) -> None:
        """Start the process where there is none.

        Raises:
            BackendError: the system starts none.
        """
        if self._child is not None or most < 1 or self._gone is not None:
            return
        here, there = Pipe()
        places = [os.path.abspath(folder) for folder in sys.path]
        words = [sys.executable, "-c", ENTRY, str(there.fileno()), str(os.getpid()), json.dumps(places)]
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=[there.fileno()], start_new_session=True
            )
        except (OSError, TypeError) as error:
            raise BackendError(f"cannot start a process for candidates: {first_line(error)}") from error
        finally:
            there.close()
        self._child = _Child(self._started, process, here)
        self._started += 1
        self._send(self._child, self._made)

    def verify(self, worker: int) -> None:
        """Ask the process to answer."""
        self._send(self._of(worker), pickle.dumps(None))

    def hand(self, worker: int, job: Any) -> None:
        """Give the process a job."""
        self._send(self._of(worker), pickle.dumps((job,)))

    def wait(self, seconds: float) -> Event | None:
        """What has happened next.

        Raises:
            BackendError: the process cannot do its work.
        """
        if self._gone is not None:
            event, self._gone = self._gone, None
            return event
        if self._child is None:
            time.sleep(seconds)
            return None
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if self._child.pipe.poll(max(0.0, min(left, LOOK_SECONDS))):
                return self._heard(self._child)
            if self._child.process.poll() is not None and not self._child.pipe.poll(0):
                return self._lost(self._child)
            if left <= 0:
                return None

    def dismiss(self, worker: int, reason: str) -> Lost:
        """Kill the process."""
        self._end(self._of(worker))
        return Lost(worker, reason)

    def trouble(self) -> str:
        """What was asked for."""
        return "the process for candidates does not start"

    def close(self) -> None:
        """Kill the process. Harmless when done twice."""
        if self._child is not None:
            self._end(self._child)

    def _of(self, worker: int) -> _Child:
        assert self._child is not None
        assert self._child.number == worker, "an answer of a process that is no more"
        return self._child

    def _send(self, child: _Child, content: bytes) -> None:
        try:
            child.pipe.send_bytes(content)
        except OSError:  # it has ended
            self._gone = self._lost(child)

    def _heard(self, child: _Child) -> Event:
        try:
            kind, *rest = pickle.loads(child.pipe.recv_bytes())
        except (EOFError, OSError):
            return self._lost(child)
        if kind == FAILED:
            self._end(child)
            raise BackendError(f"the process for candidates cannot start: {rest[0]}")
        child.ready, self._false_starts = True, 0
        if kind == READY:
            return Ready(child.number)
        return Done(child.number, *rest) if kind == DONE else Raised(child.number, rest[0])

    def _lost(self, child: _Child) -> Lost:
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(LOOK_SECONDS * 5)
        reason = _ended(child.process.poll())
        self._end(child)
        if not child.ready:
            self._false_starts += 1
            if self._false_starts >= MOST_FALSE_STARTS:
                raise BackendError(f"the process for candidates cannot start: {reason}")
        return Lost(child.number, reason)

    def _end(self, child: _Child) -> None:
        """Kill the process and all that it has started."""
        self._child = None
        with suppress(OSError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        child.pipe.close()


def _ended(status: int | None) -> str:
    """How a process has ended, in words.

    >>> _ended(3)
    'its process ended with exit status 3'
    >>> _ended(-9)
    'its process was ended by SIGKILL, as the system does where memory is short'
    """
    if status is None:
        return "its process does not answer"
    if status >= 0:
        return f"its process ended with exit status {status}"
    short = ", as the system does where memory is short" if -status == signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-status).name}{short}"


def serve(end: int, parent: int) -> None:
    """What the process does: one job after the other, until nobody listens.

    Args:
        end: of the pipe, a descriptor.
        parent: number of the process that has started this one, with which it ends.
    """
    os.set_inheritable(end, False)
    for stop in (signal.SIGINT, signal.SIGTERM):  # the parent ends this process, in its own time
        signal.signal(stop, signal.SIG_IGN)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(end))


def _serve(pipe: Connection) -> None:
    try:
        work = pickle.loads(pipe.recv_bytes())()
    except Exception as error:  # a stranger's modules may raise anything
        pipe.send_bytes(pickle.dumps((FAILED, f"{type(error).__name__}: {first_line(error)}")))
        return
    pipe.send_bytes(pickle.dumps((READY,)))
    while True:
        asked = pickle.loads(pipe.recv_bytes())
        pipe.send_bytes(pickle.dumps((READY,)) if asked is None else _answer(work, asked[0]))


def _answer(work: Callable[[Any], Any], job: Any) -> bytes:
    start = time.perf_counter()
    try:
        return pickle.dumps((DONE, work(job), time.perf_counter() - start))
    except Exception as error:
        try:
            return pickle.dumps((RAISED, error))
        except Exception:  # not every exception can be pickled
            return pickle.dumps((RAISED, RuntimeError(f"{type(error).__name__}: {first_line(error)}")))
