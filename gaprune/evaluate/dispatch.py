"""Who works on what next, for any crew of workers: longest first, on demand, retries bounded, idle time counted."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Ready:
    """A worker has started, or has answered that it is still there."""

    worker: int


@dataclass(frozen=True)
class Done:
    """A worker has finished its job, which took it so many seconds."""

    worker: int
    result: Any
    seconds: float


@dataclass(frozen=True)
class Raised:
    """A worker's job has raised an error; the worker is fine."""

    worker: int
    error: Exception


@dataclass(frozen=True)
class Lost:
    """A worker is gone for good, and what it was doing with it."""

    worker: int
    reason: str


Event = Ready | Done | Raised | Lost


class Crew(Protocol):
    """Workers by number. Every ``hand`` and ``verify`` is answered by one event."""

    def recruit(self, most: int) -> None:
        """See that there are as many workers as may be, ``most`` at most; each says ``Ready`` once it is."""
        ...

    def verify(self, worker: int) -> None:
        """Ask an idle worker whether it is still there: ``Ready`` or ``Lost``."""
        ...

    def hand(self, worker: int, job: Any) -> None:
        """Give an idle worker a job: ``Done``, ``Raised`` or ``Lost``."""
        ...

    def wait(self, seconds: float) -> Event | None:
        """What has happened next; ``None`` when nothing did for so long."""
        ...

    def trouble(self) -> str:
        """Why there may be no worker, in words."""
        ...


@dataclass(frozen=True)
class GivenUp:
    """A job whose workers died, more often than it may be tried again."""

    reason: str


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
class Dispatcher:
    """Hands jobs to a crew until each has a result or is given up.

    The longest job goes first, and each worker gets its next one when it is done: where the costs are true to time,
    this ends at most a third later than the best possible schedule (Graham 1969). A worker that is lost costs its
    job one try. Idle workers must then answer before they are given anything, so that a node which takes several
    workers with it takes no more than one try of a job.

    Attributes:
        crew: the workers.
        max_retries: times that a job is handed out again.
        again: why a result should not stand yet (the node's memory ran out, say); ``None`` where it should.
        patience: seconds without any worker after which to give up.
        clock: seconds that never run backwards.
        use: of the workers' time so far.
    """

    crew: Crew
    max_retries: int
    again: Callable[[Any], str | None] = lambda result: None
    patience: float = PATIENCE_SECONDS
    clock: Callable[[], float] = time.monotonic
    use: Use = field(default_factory=Use)
    _idle: list[int] = field(default_factory=list)
    _asked: set[int] = field(default_factory=set)
    _doing: dict[int, int | None] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)

    def muster(self, most: int) -> None:
        """Have workers start, ``most`` at most, and wait until there is one.

        Raises:
            BackendError: there was none for too long.
        """
        start = self.clock()
        while not self._idle:
            self.crew.recruit(most)
            self._settled(self.crew.wait(POLL_SECONDS))
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
                self._hand_out(queue, jobs)
                event = self.crew.wait(POLL_SECONDS)
                last_seen = self._check_patience(last_seen)
                ended = self._settled(event)
                if ended is None:
                    continue
                index, result, reason = ended
                tries[index] += 1
                if reason is not None and tries[index] <= self.max_retries:
                    self.use.retried += 1
                    queue.appendleft(index)
                    continue
                left -= 1
                self._hand_out(queue, jobs)  # before the caller takes its time with the result
                yield index, result
        finally:
            self._leave()

    def _hand_out(self, queue: deque[int], jobs: Sequence[Any]) -> None:
        """Give every idle worker the next job."""
        while queue and self._idle:
            worker, index = self._idle.pop(), queue.popleft()
            self._doing[worker] = index
            self.crew.hand(worker, jobs[index])

    def _settled(self, event: Event | None) -> tuple[int, Any, str | None] | None:
        """Take note of an event; the job that it ends, if any: index, result, why it should be tried again."""
        if event is None:
            return None
        worker = event.worker
        index = self._doing.pop(worker, None)
        self._asked.discard(worker)
        if isinstance(event, Lost):
            self._present_until_now(worker)
            self.use.lost += 1
            self._verify_idle()
            return None if index is None else (index, GivenUp(event.reason), event.reason)
        self._since.setdefault(worker, self.clock())
        self._idle.append(worker)
        if isinstance(event, Done):
            self.use.busy += event.seconds
            return None if index is None else (index, event.result, self.again(event.result))
        if isinstance(event, Raised) and index is not None:
            raise event.error
        return None

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
        self._doing = dict.fromkeys(self._doing)

    def _present_until_now(self, worker: int) -> None:
        if worker in self._since:
            self.use.present += self.clock() - self._since.pop(worker)


def longest_first(costs: Sequence[float]) -> list[int]:
    """Indices by falling cost; equal ones as they came."""
    return [int(index) for index in np.argsort(-np.asarray(costs, dtype=np.float64), kind="stable")]
