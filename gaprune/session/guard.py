"""Candidates that hang or end the process cost themselves only, also when the run is resumed.

The candidate that is being evaluated stands in a small file beside the log. Who finds it there on resume knows that a
process has ended meanwhile. Whose fault that was (a machine is switched off, a batch system kills) cannot be known, so
the candidate is tried in a process of its own: if that ends as well, it was the candidate's, and it is logged as
failed; if not, its outcome is the same as ever.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaprune.errors import BackendError, DeviceLostError, RunError
from gaprune.evaluate import UNKNOWN, Backend, Floor, LocalBackend, Outcome, too_long
from gaprune.genome import Genome
from gaprune.session.watchdog import End, TookTooLong, Watchdog

_log = logging.getLogger(__name__)

NAME = "trying.json"
"""The file that names the candidate that is being evaluated; a run that is at rest has none."""

TRIES = 2
"""How often a candidate is tried that ends its process."""

MOST_DEATHS = 3
"""Tries after which it fails though nobody has seen its own process end: this one has ended with it each time."""


@dataclass(frozen=True)
class Attempt:
    """A candidate that was being evaluated when its process ended.

    Attributes:
        key: of its genome.
        tries: how often it has been begun.
    """

    key: str
    tries: int


class Mark:
    """The file that names the candidate that is being evaluated, or the network that is being built.

    It is rewritten in place, and not forced to the disk: it is for processes that end, which lose nothing that they
    have written, and a power cut is no candidate's fault.

    Args:
        folder: of the run.
        name: of the file.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self._path = folder / name
        self._descriptor: int | None = None

    def read(self) -> Attempt | None:
        """What a process has left that has ended; ``None`` where it says nothing, as after half a line."""
        try:
            found = json.loads(self._path.read_bytes())
            return Attempt(str(found["key"]), int(found["tries"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def earlier(self) -> dict[str, int]:
        """By key how often others were begun that had ended their process, where that was noted."""
        try:
            return {str(key): int(tries) for key, tries in json.loads(self._path.read_bytes())["earlier"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def set(self, attempt: Attempt | None, earlier: Mapping[str, int] | None = None) -> None:
        """Name a candidate, or none, and those that have ended their process before.

        Raises:
            RunError: the file cannot be written.
        """
        told: dict[str, Any] = {} if attempt is None else {"key": attempt.key, "tries": attempt.tries}
        others = {key: tries for key, tries in (earlier or {}).items() if key != told.get("key")}
        content = json.dumps({**told, **({"earlier": others} if others else {})}).encode()
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror or error}") from error

    def clear(self) -> None:
        """Name none."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def close(self, *, keep: bool = False) -> None:
        """Leave no file, or leave it as it is for who resumes."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if not keep:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


class GuardedBackend(Backend):
    """One candidate after the other, each noted before it begins; those that ended a process go to one of their own.

    Args:
        inner: evaluates one after the other, here or in another process.
        folder: of the run.
        apart: makes the backend of a process of its own, from how often a candidate has been tried.
        end: ends this process where a candidate cannot be interrupted; ``None`` where it is the caller's.
        watched: whether candidates are evaluated in this process, which bounds no time by itself.
    """

    one_by_one = True

    def __init__(
        self, inner: Backend, folder: Path, apart: Callable[[int], Backend], end: End | None, *, watched: bool
    ) -> None:
        self._inner = inner
        self._mark = Mark(folder)
        self._apart = apart
        self._watchdog = Watchdog(end, folder) if watched else None
        self._suspect = self._mark.read()
        self._lost = False
        self.limit = inner.limit

    def evaluate(
        self, genomes: Sequence[Genome], floors: Sequence[Floor] | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcomes in the order of the genomes."""
        for index, genome in enumerate(genomes):
            floor = UNKNOWN if floors is None else floors[index]
            suspect = self._suspect if self._suspect is not None and self._suspect.key == genome.key else None
            outcome = self._evaluate(genome, floor) if suspect is None else self._evaluate_again(genome, floor, suspect)
            yield index, outcome

    def figures(self) -> dict[str, str]:
        """Those of the backend within."""
        return self._inner.figures()

    def close(self) -> None:
        """Give back what the backend within holds, and leave no file unless a candidate has spoilt this process."""
        self._inner.close()
        overrun = self._watchdog is not None and self._watchdog.overrun
        if self._watchdog is not None:
            self._watchdog.close()
        self._mark.close(keep=overrun or self._lost)

    @contextmanager
    def _trying(self, key: str, tries: int) -> Iterator[None]:
        self._mark.set(Attempt(key, tries))
        try:
            yield
        except DeviceLostError:
            self._lost = True
            raise
        self._mark.clear()

    def _evaluate(self, genome: Genome, floor: Floor, tries: int = 0) -> Outcome:
        with self._trying(genome.key, tries + 1):
            if self._watchdog is None or self.limit is None:
                return _only(self._inner, genome, floor)
            seconds = self.limit.seconds
            try:
                with self._watchdog.watching(f"candidate {genome.key[:12]}", seconds, too_long(seconds)):
                    outcome = _only(self._inner, genome, floor)
            except TookTooLong as late:
                self._watchdog.forget()
                outcome = Outcome(genome.key, {}, {}, seconds, f"{TookTooLong.__name__}: {late}")
            self._watchdog.overrun = False
            return outcome

    def _evaluate_again(self, genome: Genome, floor: Floor, suspect: Attempt) -> Outcome:
        """One during which a process has ended: in one of its own, unless it has ended too many."""
        self._suspect = None
        told = f"candidate {genome.key[:12]} was being evaluated when the run's last process ended"
        if suspect.tries >= MOST_DEATHS:
            reason = f"given up after {suspect.tries} tries: the search's process has ended each time"
            _log.warning("%s: %s", told, reason)
            return Outcome(genome.key, {}, {}, 0.0, reason)
        _log.warning("%s: it is tried in a process of its own", told)
        backend = None
        try:
            try:
                backend = self._apart(suspect.tries)
                backend.start(1)
            except BackendError as error:
                _log.warning("which cannot be had, so it is tried here: %s", error)
                return self._evaluate(genome, floor, suspect.tries)
            with self._trying(genome.key, suspect.tries + 1):
                return _only(backend, genome, floor)
        finally:
            if backend is not None:
                backend.close()


def guarded(inner: Backend, folder: Path, apart: Callable[[int], Backend], end: End | None) -> Backend:
    """A backend that evaluates one candidate after the other, guarded; another as it is: it guards itself.

    Args:
        inner: the backend.
        folder: of the run.
        apart: as ``GuardedBackend`` has it.
        end: as ``GuardedBackend`` has it.
    """
    here = isinstance(inner, LocalBackend)
    return GuardedBackend(inner, folder, apart, end, watched=here) if here or inner.one_by_one else inner


def _only(backend: Backend, genome: Genome, floor: Floor) -> Outcome:
    ((_, outcome),) = backend.evaluate([genome], [floor])
    return outcome
