"""Who works on what next, for any crew of workers: longest first, retries bounded, idle time counted."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from gaprune.errors import BackendError

POLL_SECONDS = 1.0
"""How long to wait for news before looking for new nodes."""

PATIENCE_SECONDS = 600.0
"""How long to go on without a single worker: a node that an autoscaler starts takes minutes."""


AHEAD_SECONDS = 0.25
"""A job expected to take no longer may wait at a worker for the one before it, which saves the way there and back."""

MOST_AT_A_WORKER = 2
"""The job that it works on, and one that waits."""


@dataclass(frozen=True)
class Ready:
    """A worker has started, or has answered that it is still there."""

    worker: int


@dataclass(frozen=True)
class Done:
    """A worker has finished the first of its jobs, which took it so many seconds."""

    worker: int
    result: Any
    seconds: float


@dataclass(frozen=True)
class Raised:
    """The first of a worker's jobs has raised an error; the worker is fine."""

    worker: int
    error: Exception


@dataclass(frozen=True)
class Lost:
    """A worker is gone for good, and all of its jobs with it."""

    worker: int
    reason: str


Event = Ready | Done | Raised | Lost


class Crew(Protocol):
    """Workers by number. Every ``hand`` and ``verify`` is answered by one event, in order, until ``Lost``."""

    def recruit(self, most: int) -> None:
        """See that there are as many workers as may be, ``most`` at most; each says ``Ready`` once it is."""
        ...

    def verify(self, worker: int) -> None:
        """Ask an idle worker whether it is still there: ``Ready`` or ``Lost``."""
        ...

    def hand(self, worker: int, job: Any) -> None:
        """Give a worker a job to do after those that it has: ``Done``, ``Raised`` or ``Lost``."""
        ...

    def wait(self, seconds: float) -> Event | None:
        """What has happened next; ``None`` when nothing did for so long."""
        ...

    def dismiss(self, worker: int, reason: str) -> Lost:
        """End a worker, whatever it does; nothing is heard of it any more."""
        ...

    def trouble(self) -> str:
        """Why there may be no worker, in words."""
        ...

    def close(self) -> None:
        """End all workers. Harmless when done twice."""
        ...

    def __len__(self) -> int:
        """How many workers there are."""
        ...


@dataclass(frozen=True)
class GivenUp:
    """A job whose workers died or were dismissed, more often than it may be tried again."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """A job that was done or lost: its index, its result so far, and why it should be tried again."""

    index: int
    result: Any
    reason: str | None


@dataclass
class Use:
    """How workers spent their time while there was work.

    Attributes:
        present: seconds that workers were there, summed over them.
        busy: of these, seconds that they worked, by their own clocks.
        retried: jobs that were handed out again.
        lost: workers that died.
    """

    present: float = 0.0
    busy: float = 0.0
    retried: int = 0
    lost: int = 0

    @property
    def idle_share(self) -> float:
        """Share of the workers' time that no job took."""
        return max(0.0, 1.0 - self.busy / self.present) if self.present else 0.0


@dataclass
class Pace:
    """How many seconds a job of some cost takes, by those that are done."""

    _seconds: float = 0.0
    _cost: float = 0.0

    def note(self, cost: float, seconds: float) -> None:
        """A job is done. One that was said to cost nothing tells nothing."""
        if cost > 0:
            self._seconds += seconds
            self._cost += cost

    def expect(self, cost: float) -> float:
        """Seconds of a job; infinite as long as nothing is known."""
        return cost * self._seconds / self._cost if self._cost and cost > 0 else math.inf


@dataclass
class Dispatcher:
    """Hands jobs to a crew until each has a result or is given up.

    The longest job goes first, to whoever is idle, and otherwise stays here until somebody is: where the costs are
    true to time, this ends at most a third later than the best possible schedule (Graham 1969). Short jobs, whose way
    to a worker and back would count, are handed to the worker that is expected to be done first while it still works.
    A worker that is lost, or is dismissed because it takes too long, costs the job that it worked on one try. Idle
    workers must then answer before they are given anything, so that a node which takes several workers with it takes no
    more than one try of a job.

    Attributes:
        crew: the workers.
        max_retries: times that a job is handed out again.
        again: why a result should not stand yet (the node's memory ran out, say); ``None`` where it should.
        ahead: seconds that a job may be expected to take and still wait at a worker; 0 lets none wait.
        patience: seconds without any worker after which to give up.
        limit: seconds that a job may take at a worker by now, and what is said of one that takes longer.
        clock: seconds that never run backwards.
        use: of the workers' time so far.
    """

    crew: Crew
    max_retries: int
    again: Callable[[Any], str | None] = lambda result: None
    ahead: float = AHEAD_SECONDS
    patience: float = PATIENCE_SECONDS
    limit: Callable[[], tuple[float, str]] = lambda: (math.inf, "")
    clock: Callable[[], float] = time.monotonic
    use: Use = field(default_factory=Use)
    _idle: list[int] = field(default_factory=list)
    _asked: set[int] = field(default_factory=set)
    _doing: dict[int, deque[int | None]] = field(default_factory=dict)
    _until: dict[int, float] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    _began: dict[int, float] = field(default_factory=dict)
    _pace: Pace = field(default_factory=Pace)

    def muster(self, most: int) -> None:
        """Have workers start, ``most`` at most, and wait until there is one.

        Raises:
            BackendError: there was none for too long.
        """
        start = self.clock()
        while not self._idle:
            self.crew.recruit(most)
            self._take_note(self.crew.wait(POLL_SECONDS))
            self._check_patience(start)

    def run(self, jobs: Sequence[Any], costs: Sequence[float]) -> Iterator[tuple[int, Any]]:
        """Yield (index of the job, its result or ``GivenUp``) as they come, each index once.

        Raises:
            BackendError: there was no worker for too long.
            Exception: what a job raised.
        """
        queue = deque(longest_first(costs))
        tries = [0] * len(jobs)
        left = len(jobs)
        self._since = dict.fromkeys([*self._idle, *self._asked, *self._doing], self.clock())
        try:
            last_seen = self.clock()
            while left:
                self.crew.recruit(left)
                self._hand_out(queue, jobs, costs)
                event = self.crew.wait(POLL_SECONDS) or self._dismiss_one()
                last_seen = self._check_patience(last_seen)
                ended, waiting = self._take_note(event)
                queue.extendleft(reversed(waiting))
                if ended is None:
                    continue
                tries[ended.index] += 1
                if ended.reason is not None and tries[ended.index] <= self.max_retries:
                    self.use.retried += 1
                    queue.appendleft(ended.index)
                    continue
                left -= 1
                if isinstance(event, Done):
                    self._pace.note(costs[ended.index], event.seconds)
                self._hand_out(queue, jobs, costs)  # before the caller takes its time with the result
                yield ended.index, ended.result
        finally:
            self._leave()

    def _hand_out(self, queue: deque[int], jobs: Sequence[Any], costs: Sequence[float]) -> None:
        """Give every idle worker the next job, and short ones to those that will soon be idle."""
        while queue:
            expected = self._pace.expect(costs[queue[0]])
            worker = self._idle.pop() if self._idle else self._idle_soon(expected)
            if worker is None:
                return
            index = queue.popleft()
            self._doing.setdefault(worker, deque()).append(index)
            self._began.setdefault(worker, self.clock())
            self._until[worker] = max(self._until.get(worker, 0.0), self.clock()) + expected
            self.crew.hand(worker, jobs[index])

    def _idle_soon(self, expected: float) -> int | None:
        """The worker that will be done first, if a job of so many seconds may wait there."""
        known = all(math.isfinite(self._until[worker]) for worker in self._doing)
        if not self._doing or not known or not math.isfinite(expected) or expected > self.ahead:
            return None
        first = min(self._doing, key=self._until.__getitem__)
        return first if len(self._doing[first]) < MOST_AT_A_WORKER else None

    def _take_note(self, event: Event | None) -> tuple[Ended | None, list[int]]:
        """Take note of an event: the job that it ends, and jobs that waited for a worker which is no more."""
        if event is None:
            return None, []
        worker = event.worker
        had = self._doing.get(worker, deque())
        index = had.popleft() if had else None
        self._asked.discard(worker)
        self._began.pop(worker, None)
        if isinstance(event, Lost):
            self._doing.pop(worker, None)
            self._until.pop(worker, None)
            self._present_until_now(worker)
            self.use.lost += 1
            self._verify_idle()
            ended = None if index is None else Ended(index, GivenUp(event.reason), event.reason)
            return ended, [each for each in had if each is not None]
        self._since.setdefault(worker, self.clock())
        if not had:
            self._doing.pop(worker, None)
            self._until.pop(worker, None)
            self._idle.append(worker)
        else:
            self._began[worker] = self.clock()
        if isinstance(event, Done):
            self.use.busy += event.seconds
            return None if index is None else Ended(index, event.result, self.again(event.result)), []
        if isinstance(event, Raised) and index is not None:
            raise event.error
        return None, []

    def _dismiss_one(self) -> Lost | None:
        """Let a worker go that has taken too long; looked at when nothing else has happened for a while."""
        seconds, told = self.limit()
        now = self.clock()
        late = next((worker for worker, began in self._began.items() if now - began > seconds), None)
        return None if late is None else self.crew.dismiss(late, told)

    def _verify_idle(self) -> None:
        for worker in self._idle:
            self._asked.add(worker)
            self.crew.verify(worker)
        self._idle.clear()

    def _check_patience(self, last_seen: float) -> float:
        """When there was a worker for the last time."""
        now = self.clock()
        if self._idle or self._doing:
            return now
        if now - last_seen > self.patience:
            raise BackendError(f"no worker for {now - last_seen:.0f} s: {self.crew.trouble()}")
        return last_seen

    def _leave(self) -> None:
        """The end of a run, come early or not: what still comes of it belongs to no job."""
        for worker in list(self._since):
            self._present_until_now(worker)
        self._doing = {worker: deque([None] * len(had)) for worker, had in self._doing.items()}

    def _present_until_now(self, worker: int) -> None:
        if worker in self._since:
            self.use.present += self.clock() - self._since.pop(worker)


def longest_first(costs: Sequence[float]) -> list[int]:
    """Indices by falling cost; equal ones as they came."""
    return [int(index) for index in np.argsort(-np.asarray(costs, dtype=np.float64), kind="stable")]
