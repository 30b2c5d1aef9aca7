"""A plan of steps, each a process of its own with its own time limit; a step that fails costs itself only."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gaprune.progress import duration
from gaprune.runs.files import write_json
from gaprune.runs.reading import read_json_object

STATUS, LOG = "status.json", "log.txt"
POLL_SECONDS = 0.2
GRACE_SECONDS = 3.0
"""Between asking a step to stop and ending it."""

PATIENCE = 4
"""With ``quick``, which may run on any machine, a step may take so many times its limit."""

DONE, FAILED, LATE, WAITED = "done", "failed", "ran out of time", "not begun"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One piece of work.

    Attributes:
        name: of its folder.
        about: what it does, in a few words.
        feeds: what its results are for.
        estimate: seconds that it takes on the card that the plan is for; less left, and it is not begun.
        limit: seconds after which it is ended.
        after: steps that must be done before.
        alone: whether nothing else may run meanwhile, because it takes times.
    """

    name: str
    about: str
    feeds: str
    estimate: float
    limit: float
    after: tuple[str, ...] = ()
    alone: bool = False


@dataclass
class _Running:
    step: Step
    process: subprocess.Popen[bytes]
    began: float
    limit: float


@dataclass
class Plan:
    """Runs steps in their order, several at once where they may.

    Args:
        steps: most valuable first.
        folder: of results; each step has one in it, with what it printed and how it ended.
        command: the command line of a step.
        seconds: until everything is ended.
        jobs: steps at once at most.
        say: where lines go.
        packed: called after each step.
        quick: whether estimates are ignored and limits wide, since both are those of the whole plan on a GPU.
    """

    steps: Sequence[Step]
    folder: Path
    command: Callable[[Step], list[str]]
    seconds: float
    jobs: int
    say: Say
    packed: Callable[[], object] = lambda: None
    quick: bool = False
    _running: list[_Running] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> dict[str, str]:
        """Run what is not done yet; how each step ended, by name."""
        try:
            while self._start_more() or self._running:
                time.sleep(POLL_SECONDS)
                for running in list(self._running):
                    self._look_at(running)
        finally:
            for running in self._running:
                _end(running.process)
        for step in self.steps:
            if self.status(step.name) is None:
                missing = [name for name in step.after if self.status(name) != DONE]
                why = f"needs {', '.join(missing)}" if missing else "no time was left"
                self._note(step, WAITED, 0.0, why)
        self.packed()
        return {step.name: self.status(step.name) or WAITED for step in self.steps}

    def status(self, name: str) -> str | None:
        """How a step ended; ``None`` where it has not."""
        file = self.folder / name / STATUS
        found: str | None = read_json_object(file)["status"] if file.exists() else None
        return found

    def forget_failures(self) -> None:
        """Let steps that did not end well be tried again."""
        for step in self.steps:
            if self.status(step.name) not in (None, DONE):
                (self.folder / step.name / STATUS).unlink()

    def elapsed(self) -> float:
        """Seconds since the plan was made."""
        return time.monotonic() - self._began

    def _left(self) -> float:
        return self.seconds - self.elapsed()

    def _start_more(self) -> bool:
        """Start every step that may run now; whether one was started."""
        started = False
        for step in self.steps:
            if self._may_start(step):
                self._start(step)
                started = True
            elif step.alone and self._waits_only_for_others(step):
                break  # the machine empties for it
        return started

    def _may_start(self, step: Step) -> bool:
        busy = len(self._running)
        if not self._is_ready(step) or busy >= self.jobs or any(one.step.alone for one in self._running):
            return False
        return not (step.alone and busy)

    def _waits_only_for_others(self, step: Step) -> bool:
        return self._is_ready(step) and bool(self._running)

    def _is_ready(self, step: Step) -> bool:
        if self.status(step.name) is not None or any(one.step is step for one in self._running):
            return False
        enough = self._left() > (0 if self.quick else step.estimate)
        return enough and all(self.status(name) == DONE for name in step.after)

    def _start(self, step: Step) -> None:
        home = self.folder / step.name
        home.mkdir(parents=True, exist_ok=True)
        with (home / LOG).open("wb") as log:
            process = subprocess.Popen(
                self.command(step),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(step),
            )
        limit = min(PATIENCE * step.limit if self.quick else step.limit, self._left())
        self._running.append(_Running(step, process, time.monotonic(), limit))
        self.say(f"{self._clock()} {step.name}: begins, {duration(limit)} at most")

    def _look_at(self, running: _Running) -> None:
        taken = time.monotonic() - running.began
        code = running.process.poll()
        if code is None and taken < running.limit:
            return
        if code is None:
            _end(running.process)
        self._running.remove(running)
        status = LATE if code is None else DONE if code == 0 else FAILED
        last = _last_line(self.folder / running.step.name / LOG)
        self._note(running.step, status, taken, "" if status == DONE else last)
        self.packed()

    def _note(self, step: Step, status: str, seconds: float, why: str) -> None:
        home = self.folder / step.name
        home.mkdir(parents=True, exist_ok=True)
        record: dict[str, Any] = {"status": status, "seconds": round(seconds, 1)}
        write_json(home / STATUS, record | ({"why": why} if why else {}))
        self.say(f"{self._clock()} {step.name}: {status} after {duration(seconds)}{f' ({why})' if why else ''}")

    def _environment(self, step: Step) -> dict[str, str]:
        """Steps at once share the cores; what is small is quickest on one."""
        cores = len(os.sched_getaffinity(0))
        threads = 1 if self.quick else cores if step.alone else max(1, cores // self.jobs)
        return {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}

    def _clock(self) -> str:
        return f"[{self.elapsed():5.0f} s]"


def table(steps: Sequence[Step]) -> str:
    """The steps as Markdown."""
    rows = ["| step | what | seconds | at most | after | feeds |", "|---|---|---|---|---|---|"]
    for step in steps:
        after = ", ".join(step.after) or "-"
        alone = " (alone)" if step.alone else ""
        rows.append(
            f"| {step.name} | {step.about}{alone} | {step.estimate:g} | {step.limit:g} | {after} | {step.feeds} |"
        )
    return "\n".join(rows)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step and what it has started: it has a process group of its own."""
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
