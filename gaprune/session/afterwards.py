"""Networks that are built when the search is over: to choose what is handed out, and for the front.

They may misbehave as candidates do, and cost themselves only. What hangs in Python code is interrupted; what hangs in
a library ends the process, if it is ours, and is tried once more when the run goes on. Which network is being built
stands in a small file, as a candidate's name does in a search (``guard.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn, TypeVar

import torch

from gaprune import device
from gaprune.errors import DeviceLostError, GapruneError, first_line
from gaprune.evaluate import Outcome, TimeLimit
from gaprune.options import out_of_memory
from gaprune.progress import Reporter
from gaprune.runs import SHORT
from gaprune.session.guard import MOST_DEATHS, Attempt, Mark
from gaprune.session.job import Job
from gaprune.session.watchdog import Watchdog

NAME = "building.json"
"""The file that names the network that is being built; a run that is at rest has none."""

TIMES_A_CANDIDATE = 10
"""How much longer than a candidate a network may take: it may be polished, and is measured on test images besides."""

T = TypeVar("T")


class Afterwards:
    """Builds one network at a time; one that fails is told in a line, and costs itself only.

    Args:
        job: of the search.
        folder: of the run.
        evaluated: all outcomes of the search: how long candidates take bounds what is built of them.
        reporter: told of what fails.
    """

    def __init__(self, job: Job, folder: Path, evaluated: Iterable[Outcome], reporter: Reporter) -> None:
        self._device, self._reporter = job.device, reporter
        self._mark = Mark(folder, NAME)
        suspect = self._mark.read()
        self._tries = self._mark.earlier() | ({} if suspect is None else {suspect.key: suspect.tries})
        self._trying: Attempt | None = None
        self._end = job.own.end
        self._watchdog = Watchdog(None if self._end is None else self._hung, folder, "end this process, resume the run")
        self._seconds = seconds_of(job, evaluated)

    def __enter__(self) -> Afterwards:
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        self._watchdog.close()
        self._mark.close(keep=kind is not None and issubclass(kind, DeviceLostError))

    def __call__(self, key: str, work: Callable[[], T], *, noun: str, without: str) -> T | None:
        """What the work gives; ``None``, and a line, where what is not ours raises or hangs.

        Args:
            key: of the network's genome.
            work: builds it, and looks at it.
            noun: what it is, in the line.
            without: what becomes of it that fails, in the line.

        Raises:
            DeviceLostError: it has left the GPU unusable, so that all that follows would fail as well.
            RunError: the run's directory cannot be written.
        """
        named = f"{noun} {key[:SHORT]}"
        tries = self._tries.get(key, 0)
        if tries >= MOST_DEATHS:
            self._reporter.say(f"{named} {without}: given up, the process has ended each time that it was tried")
            return None
        try:
            return self._bounded(named, Attempt(key, tries + 1), work)
        except (KeyboardInterrupt, GapruneError):
            raise
        except BaseException as error:  # a foreign network or objective may raise anything, or ask to exit
            self._watchdog.forget()
            if out_of_memory(error):
                raise
            if not device.answers(self._device):
                lost = f"{named} has left the GPU unusable for this process: {first_line(error)}"
                raise DeviceLostError(lost) from error
            self._reporter.say(f"{named} {without}: {type(error).__name__}: {first_line(error)}")
            return None

    def _bounded(self, named: str, attempt: Attempt, work: Callable[[], T]) -> T:
        self._mark.set(attempt, self._tries)
        self._trying = attempt
        told = f"took longer than {self._seconds:.3g} s, {TIMES_A_CANDIDATE} times what a candidate may take"
        with self._watchdog.watching(named, self._seconds, told), torch.no_grad():
            found = work()
        self._tries.pop(attempt.key, None)
        self._mark.set(None, self._tries)
        return found

    def _hung(self, line: str, folder: Path, then: str) -> NoReturn:
        """End this process. A hang is surely the network's doing, and so counts more than a process that has ended."""
        assert self._end is not None
        assert self._trying is not None
        tries = self._trying.tries + 1
        self._mark.set(Attempt(self._trying.key, tries), self._tries)
        self._end(line, folder, f"it {'is left out' if tries >= MOST_DEATHS else 'is tried once more'} there")


def seconds_of(job: Job, evaluated: Iterable[Outcome]) -> float:
    """How long a network may take that is built afterwards; infinite where there is no limit.

    Args:
        job: of the search.
        evaluated: its outcomes.
    """
    limit = TimeLimit(job.options.cluster.candidate_timeout)
    for outcome in evaluated:
        limit.note(outcome)
    return TIMES_A_CANDIDATE * limit.seconds
