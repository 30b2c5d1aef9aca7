"""Workers as Ray actors: started, asked, and known to be dead when they are. Which job is whose is no matter here."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from gaprune.cluster.dispatch import Done, Event, Lost, Raised, Ready
from gaprune.cluster.session import Needs, described, nodes
from gaprune.errors import BackendError, first_line

LOOK_SECONDS = 1.0
"""How often to ask whether nodes have joined."""

MOST_FALSE_STARTS = 5
"""Workers that may die one after the other while they start."""

logger = logging.getLogger(__name__)

READY, DONE = "ready", "done"


def worker_class() -> Any:
    """The actor. Made in a function, so that it travels by value and a worker imports what its job needs alone."""

    class EvaluationWorker:
        def __init__(self, boxed: list[Any], label: str, folders: list[str]) -> None:
            import os
            import sys
            import time

            import ray
            from ray.util import metrics

            sys.path += [folder for folder in folders if folder not in sys.path and os.path.isdir(folder)]
            self._label = label
            self._clock = time.perf_counter
            make, self._fails = ray.get(boxed[0])
            self._work = make()
            tags = {"worker": label}
            self._count = metrics.Counter("gaprune_evaluations", "candidates evaluated", ("worker",))
            self._failed = metrics.Counter("gaprune_failures", "candidates that failed", ("worker",))
            self._seconds = metrics.Histogram(
                "gaprune_candidate_seconds",
                "seconds of a candidate",
                boundaries=[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0],
                tag_keys=("worker",),
            )
            for metric in (self._count, self._failed, self._seconds):
                metric.set_default_tags(tags)

        def __repr__(self) -> str:
            return self._label

        def ready(self) -> None:
            """Answers once the worker has loaded everything."""

        def evaluate(self, job: Any) -> tuple[Any, float]:
            start = self._clock()
            result = self._work(job)
            seconds = self._clock() - start
            self._count.inc()
            if self._fails(result):
                self._failed.inc()
            self._seconds.observe(seconds)
            return result, seconds

    return EvaluationWorker


@dataclass
class RayCrew:
    """A crew of actors (a ``gaprune.cluster.dispatch.Crew``). Ray's own restarts and retries are off.

    Attributes:
        make: called once by each worker, gives the function from job to result; lies in the object store, once a
            node.
        needs: what a worker takes.
        workers: how many at most; ``None`` follows the cluster's size as nodes join.
        fails: whether a result counts as a failure in Ray's metrics.
    """

    make: Any
    needs: Needs
    workers: int | None = None
    fails: Callable[[Any], bool] = lambda result: False
    _actors: dict[int, Any] = field(default_factory=dict)
    _waiting: dict[Any, int] = field(default_factory=dict)
    _owed: dict[int, deque[tuple[Any, str]]] = field(default_factory=dict)
    _answered: deque[Any] = field(default_factory=deque)
    _starting: set[int] = field(default_factory=set)
    _started: int = 0
    _false_starts: int = 0
    _looked: float = float("-inf")
    _room: int = 0

    def __post_init__(self) -> None:
        self._class = ray.remote(worker_class())
        self._shipped = ray.put((self.make, self.fails))
        self._folders = [os.path.abspath(folder) for folder in sys.path]
        self._namespace = f"gaprune-{uuid4().hex[:8]}"

    def __len__(self) -> int:
        return len(self._actors) - len(self._starting)

    def recruit(self, most: int) -> None:
        """Start workers until there are as many as asked for, or as the nodes hold."""
        for _ in range(min(most, self._target()) - len(self._actors)):
            self._start()

    def verify(self, worker: int) -> None:
        """Ask a worker to answer."""
        self._owe(worker, self._actors[worker].ready.remote(), READY)

    def hand(self, worker: int, job: Any) -> None:
        """Give a worker a job; it does them one after the other, as they come."""
        self._owe(worker, self._actors[worker].evaluate.remote(job), DONE)

    def wait(self, seconds: float) -> Event | None:
        """What has happened next.

        Raises:
            BackendError: workers cannot start.
        """
        if not self._answered and self._waiting:
            asked = list(self._waiting)
            found, rest = ray.wait(asked, num_returns=1, timeout=seconds)
            if found and rest:  # many at once cost little more than one
                found += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            self._answered.extend(found)
        elif not self._waiting:
            time.sleep(seconds)
        return self._event(self._answered.popleft()) if self._answered else None

    def dismiss(self, worker: int, reason: str) -> Lost:
        """Kill a worker's process."""
        self._forget(worker)
        logger.warning("worker %d is ended: %s", worker, reason)
        return Lost(worker, reason)

    def trouble(self) -> str:
        """What was asked for, and what there is."""
        return f"each needs {self.needs}, Ray has {described()}"

    def close(self) -> None:
        """End all workers. Harmless when done twice."""
        actors, self._actors = self._actors, {}
        self._waiting.clear()
        self._owed.clear()
        self._answered.clear()
        self._starting.clear()
        if ray.is_initialized():
            for actor in actors.values():
                ray.kill(actor, no_restart=True)

    def _target(self) -> int:
        if self.workers is not None:
            return self.workers
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            with suppress(RayError, OSError, RuntimeError):  # the head does not answer: what it said last holds
                self._room = sum(self.needs.fit(node) for node in nodes())
        return self._room

    def _start(self) -> None:
        number = self._started
        self._started += 1
        label = f"gaprune-worker-{number}"
        options = self._class.options(
            name=label,
            namespace=self._namespace,
            num_cpus=self.needs.cpus,
            num_gpus=self.needs.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            enable_task_events=False,  # the metrics say it for less
        )
        self._actors[number] = options.remote(
            [self._shipped], label, self._folders
        )  # boxed: read when modules are found
        self._starting.add(number)
        self.verify(number)

    def _owe(self, worker: int, reference: Any, kind: str) -> None:
        self._waiting[reference] = worker
        self._owed.setdefault(worker, deque()).append((reference, kind))

    def _event(self, answered: Any) -> Event:
        """An answer of a worker: its oldest, whichever Ray names first."""
        worker = self._waiting.pop(answered)
        reference, kind = self._owed[worker].popleft()
        try:
            answer = ray.get(reference)
        except RayTaskError as error:
            return Raised(worker, error.cause if isinstance(error.cause, Exception) else error)
        except RayError as error:
            return self._lost(worker, error)
        if worker in self._starting:
            self._starting.discard(worker)
            self._false_starts = 0
        return Ready(worker) if kind == READY else Done(worker, *answer)

    def _forget(self, worker: int) -> None:
        """End a worker, and hear no answer of it any more."""
        ray.kill(self._actors.pop(worker), no_restart=True)
        self._owed.pop(worker, None)
        self._waiting = {reference: owner for reference, owner in self._waiting.items() if owner != worker}
        self._answered = deque(reference for reference in self._answered if reference in self._waiting)

    def _lost(self, worker: int, error: RayError) -> Lost:
        self._forget(worker)
        if worker in self._starting:
            self._starting.discard(worker)
            self._false_starts += 1
            if getattr(error, "actor_init_failed", False) or self._false_starts > MOST_FALSE_STARTS:
                raise BackendError(f"a worker cannot start: {_advised(reason_of(error))}") from error
        logger.warning("worker %d died: %s", worker, reason_of(error))
        return Lost(worker, reason_of(error))


def reason_of(error: RayError) -> str:
    """Why a worker died, in one line of Ray's many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RayActorError) and getattr(error, "actor_init_failed", False):
        return lines[-1]
    for mark in ("Worker exit detail:", "The actor is dead because", "The actor died because"):
        for line in lines:
            if mark in line:
                detail = line[line.index(mark) :].removeprefix("Worker exit detail:").strip()
                return detail.split(" Some common causes")[0]
    return first_line(error)


def _advised(reason: str) -> str:
    advice = "install it on every node, or name its folder in PYTHONPATH there"
    return f"{reason}: {advice}" if "No module named" in reason else reason
