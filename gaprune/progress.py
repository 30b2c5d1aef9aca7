"""What a long job tells its user: a bar with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TextIO

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn
from rich.progress import Task as RichTask
from rich.text import Text

from gaprune.errors import OutputError, choice_error
from gaprune.options import LogLevel, names

Clock = Callable[[], float]


class Task(Protocol):
    """One counted piece of work in progress."""

    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        """``steps`` more are done; ``figures`` such as ``accuracy="0.93"`` are shown beside the count.

        A figure stays until it is given again. Work that an earlier process has done is one advance at
        the very start: it moves the count and does not flatter the time left.

        Args:
            steps: how many.
            share: of all the work, 0 to 1, what is done by now, where steps differ in length; bar and time left go by
                it. Without one a step is worth a step.
            **figures: what else there is to say.
        """
        ...


class Reporter(Protocol):
    """Where a job's lines and progress go."""

    def say(self, line: str) -> None:
        """Print one line, above the bar if there is one."""
        ...

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """Show the progress of ``total`` steps until the context ends. Tasks may nest."""
        ...


def make_reporter(stream: TextIO | None = None, *, interval: float = 10.0, clock: Clock = time.monotonic) -> Reporter:
    """The reporter that suits a stream.

    Args:
        stream: where to write; standard output by default.
        interval: least time in seconds between two plain lines of one task.
        clock: seconds that never run backwards; tests bring their own.
    """
    stream = sys.stdout if stream is None else stream
    console = Console(file=stream)
    if stream.isatty() and console.is_terminal and not console.is_dumb_terminal:
        return _BarReporter(console, clock)
    return _LineReporter(stream, interval, clock)


def show(reporter: Reporter, table: RenderableType, plain: str) -> None:
    """Show a table: drawn where the reporter draws bars, as plain lines elsewhere, not at all where it is silent.

    Args:
        reporter: where to.
        table: for a terminal.
        plain: the same as lines.
    """
    if isinstance(reporter, _BarReporter):
        reporter.draw(table)
    else:
        reporter.say(plain)


def duration(seconds: float) -> str:
    """A time in words: ``45 s``, ``3 min 10 s``, ``2 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Pace:
    """Time left of a job, from the rate of the later half of what is done.

    The first half is left out because it holds the warm-up, and the rate follows a job that slows down. Steps
    reported in one burst (a whole generation at once) count as one point, so that a burst is not
    taken for speed. Where steps differ in length, the share of the work that is done counts in their place, and all
    of the time: who knows the share knows which steps are slow.

    Attributes:
        total: steps.
        done: steps done.
        worth: the same, each counted as what it is of the work.
    """

    def __init__(self, total: int, clock: Clock = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self.worth = 0.0
        self._clock = clock
        self._start = clock()
        self._points = [(self._start, 0.0)]
        self._by_share = False

    def advance(self, steps: int, share: float | None = None) -> None:
        """Count ``steps`` more as done now; ``share`` of the work, 0 to 1, where it is known."""
        now = self._clock()
        self.done += steps
        self._by_share |= share is not None
        self.worth = min(self.worth + steps if share is None else share * self.total, self.total)
        time_of_last, _ = self._points[-1]
        if now - time_of_last <= max(0.02, 0.01 * (now - self._start)):
            self._points[-1] = (time_of_last, self.worth)
        else:
            self._points.append((now, self.worth))

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def left(self) -> float | None:
        """Estimated seconds until the end; None while there is nothing to estimate from."""
        last_time, last_done = self._points[-1]
        earlier = self._points[:-1]
        if not earlier:
            return None
        anchor = earlier[0]
        for point in earlier:
            if self._by_share or point[1] - earlier[0][1] > (last_done - earlier[0][1]) / 2:
                break
            anchor = point
        if last_done <= anchor[1]:
            return None
        per_step = (last_time - anchor[0]) / (last_done - anchor[1])
        return max(0.0, per_step * (self.total - last_done) - (self._clock() - last_time))


class _SilentTask:
    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        pass


class _SilentReporter:
    def say(self, line: str) -> None:
        pass

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        return nullcontext(_SilentTask())


SILENT: Reporter = _SilentReporter()


@contextmanager
def logging_at(level: str | None) -> Iterator[None]:
    """Log so much of what gaprune does, and set that back in the end. Where it goes is the caller's business.

    Args:
        level: a ``LogLevel``; ``None`` leaves it as the caller has it.

    Raises:
        OptionError: there is no such level.
    """
    if level is not None and level not in names(LogLevel):
        raise choice_error("log-level", level, names(LogLevel))
    logger = logging.getLogger("gaprune")
    before = logger.level
    if level is not None:
        logger.setLevel(level.upper())
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def heard(reporter: Reporter, *, quiet: bool, log_level: str | None) -> Iterator[Reporter]:
    """The reporter that a command uses, while so much is logged as it is told.

    Args:
        reporter: where its lines go, unless it is quiet.
        quiet: whether nothing is said.
        log_level: see ``logging_at``.

    Raises:
        OptionError: there is no such level.
    """
    with logging_at(log_level):
        yield SILENT if quiet else reporter


def _status(name: str, pace: Pace, timing: str, figures: dict[str, str]) -> str:
    """``search: 40 of 240, 3 min 10 s left, accuracy 0.93``."""
    shown = [f"{name}: {pace.done} of {pace.total}", timing, *_figures(figures)]
    return ", ".join(part for part in shown if part)


def _figures(figures: dict[str, str]) -> list[str]:
    return [f"{name.replace('_', ' ')} {value}" for name, value in figures.items()]


def _time_left(pace: Pace) -> str:
    left = pace.left()
    return "" if left is None else f"{duration(left)} left"


class _LineTask:
    def __init__(self, name: str, pace: Pace, reporter: _LineReporter) -> None:
        self.name = name
        self.pace = pace
        self.figures: dict[str, str] = {}
        self._reporter = reporter
        self._spoke_at = 0.0

    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        self.pace.advance(steps, share)
        self.figures.update(figures)
        elapsed = self.pace.elapsed()
        due = elapsed - self._spoke_at >= self._reporter.interval
        if due and self.pace.done < self.pace.total:
            self._spoke_at = elapsed
            self.report(_time_left(self.pace))

    def report(self, timing: str) -> None:
        self._reporter.say(_status(self.name, self.pace, timing, self.figures))


class _LineReporter:
    def __init__(self, stream: TextIO, interval: float, clock: Clock) -> None:
        self.interval = interval
        self._stream = stream
        self._clock = clock

    def say(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError.of(error) from error

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        task = _LineTask(name, Pace(total, self._clock), self)
        task.report("")
        try:
            yield task
        except BaseException:
            task.report(f"stopped after {duration(task.pace.elapsed())}")
            raise
        task.report(f"done in {duration(task.pace.elapsed())}")


class _TimeLeftColumn(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        pace: Pace = task.fields["pace"]
        return Text(_time_left(pace) if pace.done < pace.total else duration(pace.elapsed()), style="cyan")


class _TwoLineProgress(Progress):
    """A bar a task, its figures on a line of their own so that they never squeeze the bar."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["figures"]:
                yield Text(f"  {task.fields['figures']}", style="dim")


class _BarTask:
    def __init__(self, progress: Progress, task_id: TaskID, pace: Pace) -> None:
        self._progress = progress
        self._task_id = task_id
        self._pace = pace
        self._figures: dict[str, str] = {}

    def advance(self, steps: int = 1, *, share: float | None = None, **figures: str) -> None:
        self._pace.advance(steps, share)
        self._figures.update(figures)
        text = ", ".join(_figures(self._figures))
        self._progress.update(self._task_id, completed=self._pace.worth, figures=text)


class _BarReporter:
    """One live display for all tasks: a nested task's bar stands below until it ends, lines go above."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._running = 0
        self._progress = self._new_progress()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def draw(self, table: RenderableType) -> None:
        self._console.print(table)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        if self._running == 0:
            self._progress = self._new_progress()
            self._progress.start()
        self._running += 1
        pace = Pace(total, self._clock)
        task_id = self._progress.add_task(name, total=total, pace=pace, figures="")
        try:
            yield _BarTask(self._progress, task_id, pace)
        finally:
            self._running -= 1
            if self._running == 0:
                self._progress.stop()
            else:
                self._progress.remove_task(task_id)

    def _new_progress(self) -> Progress:
        return _TwoLineProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[pace].done} of {task.total}", markup=False),
            _TimeLeftColumn(),
            console=self._console,
        )
