"""Candidates that misbehave: an objective that does something bad for networks of so many FLOPs.

Usable as ``--objectives accuracy,faulty:FLOPS`` in any process that is told by ``Misbehave``.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import gaprune
import gaprune.device
from gaprune.evaluate import Candidate
from gaprune.session import afterwards, handing_out

KIND, AT, TRIED = "FAULTY_KIND", "FAULTY_AT", "FAULTY_TRIED"


@dataclass(frozen=True)
class Misbehave:
    """What candidates of so many FLOPs do in a process and in those that it starts.

    Attributes:
        kind: of ``KINDS``.
        flops: theirs.
        tried: a folder in which each try leaves a file.
    """

    kind: str
    flops: int
    tried: Path

    def install(self) -> None:
        """Let this process come upon it."""
        os.environ.update({KIND: self.kind, AT: str(self.flops), TRIED: str(self.tried)})

    @property
    def tries(self) -> int:
        """How often it was tried."""
        return len(list(self.tried.iterdir()))


def loop() -> NoReturn:
    while True:
        pass


def stubborn() -> NoReturn:
    """Waits as a library does that has locked itself out: no signal ends that."""
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)
    raise AssertionError("a mutex was locked twice")


def oserror() -> NoReturn:
    raise OSError(28, "No space left on device")


def memory() -> NoReturn:
    raise MemoryError


def device() -> NoReturn:
    """What a wrong address in a CUDA kernel does: this call fails, and so does every other one of the process."""
    gaprune.device.answers = lambda device: False
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


KINDS = {
    "device": device,
    "loop": loop,
    "sleep": lambda: time.sleep(1000),
    "stubborn": stubborn,
    "exit": lambda: os._exit(3),
    "sys.exit": lambda: sys.exit("tired"),
    "interrupt": lambda: signal.raise_signal(signal.SIGINT),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "oserror": oserror,
    "memory": memory,
    "nan": lambda: math.nan,
}


def flops(candidate: Candidate) -> float:
    found = candidate.costs.flops / candidate.original.flops
    if os.environ.get(AT) != str(candidate.costs.flops):
        return found
    folder = Path(os.environ[TRIED])
    (folder / f"{len(list(folder.iterdir()))}").touch()
    return float(KINDS[os.environ[KIND]]() or found)  # type: ignore[arg-type]


FLOPS = gaprune.Objective("cost", "share of the FLOPs", flops, flops)


def later(candidate: Candidate) -> float:
    """FLOPs whose count fails once the search is over: members of the front are built and judged again."""
    found = candidate.costs.flops / candidate.original.flops
    if os.environ.get(AT) == str(candidate.costs.flops):
        folder = Path(os.environ[TRIED])
        (folder / f"{len(list(folder.iterdir()))}").touch()
        if len(list(folder.iterdir())) > 2:  # what is minimised, and the plain value
            KINDS[os.environ[KIND]]()
    return found


@dataclass(frozen=True)
class Choosing:
    """Networks fail when it is chosen what is handed out, each.

    Attributes:
        kind: of ``KINDS``.
    """

    kind: str

    def install(self) -> None:
        """Let this process come upon it."""
        handing_out._FreshImages._apart = lambda *given: KINDS[self.kind]()  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class Soon:
    """Networks that are built after the search may take no longer than candidates.

    Attributes:
        fault: what is come upon besides.
    """

    fault: Misbehave | Choosing

    def install(self) -> None:
        """Let this process come upon it."""
        afterwards.TIMES_A_CANDIDATE = 1
        self.fault.install()


LATER = gaprune.Objective("cost", "share of the FLOPs", later, later)
