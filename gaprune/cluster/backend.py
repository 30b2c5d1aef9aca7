"""Candidates in other processes: Ray's workers, or one of this machine. Imported only when used: it imports Ray."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaprune import __version__
from gaprune.cluster.child import ChildCrew
from gaprune.cluster.crew import RayCrew
from gaprune.cluster.dispatch import PATIENCE_SECONDS, Crew, Dispatcher, GivenUp
from gaprune.cluster.parcel import Parcel, pack, unpack
from gaprune.cluster.session import Needs
from gaprune.device import Numerics, give_back_memory, pinned
from gaprune.errors import BackendError, DeviceLostError, first_line
from gaprune.evaluate import UNKNOWN, Backend, Floor, Outcome, TimeLimit, too_long
from gaprune.genome import Genome

Evaluate = Callable[[Genome, Floor], Outcome]

GIVE_BACK = 16
"""Candidates after which a worker gives memory back to the system."""

LOST = 70
"""Exit status of a worker whose device does not answer any more."""

OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")
"""Failures that may be a neighbour's fault: workers share a GPU or a node."""


@dataclass(frozen=True)
class Loading:
    """What a worker does once: unpack the evaluator, and compute from then on as the driver would.

    Attributes:
        parcel: the function from genome and floor to outcome.
        threads: CPU threads of an evaluation.
        numerics: torch's settings in the driver.
        versions: of what results depend on, in the driver.
    """

    parcel: Parcel
    threads: int
    numerics: Numerics
    versions: dict[str, str]

    def __call__(self) -> Callable[[tuple[bytes, Floor]], Outcome]:
        """The function of a job: packed genome and floor.

        Raises:
            BackendError: this worker has other versions than the driver.
        """
        apart = [f"{k} {v} here, {self.versions[k]} there" for k, v in versions().items() if v != self.versions[k]]
        if apart:
            raise BackendError(f"node {socket.gethostname()} differs from the search's: {'; '.join(apart)}")
        self.numerics.restore()
        evaluate: Evaluate = unpack(self.parcel)
        done = 0

        def work(job: tuple[bytes, Floor]) -> Outcome:
            nonlocal done
            done += 1
            if done % GIVE_BACK == 0:
                give_back_memory()
            packed, floor = job
            try:
                with pinned(self.threads):
                    return evaluate(Genome(packed), floor)
            except DeviceLostError as error:
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
                os._exit(LOST)  # another process may use the device

        return work


class CrewBackend(Backend):
    """Candidates handed to a crew that loads everything once.

    Outcomes are those of ``LocalBackend`` with as many threads, bit for bit on the same kind of device, however
    many workers there are and in whatever order they end. A candidate whose worker dies, or that takes too long, costs
    itself only.

    Args:
        crew: the workers.
        dispatcher: hands them jobs, and knows the limit.
        cost: what a genome costs to evaluate, on any scale: the dearest go first.
        limit: how long a candidate may take.
        tried: times that each candidate has been tried before, for what is said of those that are given up.
    """

    def __init__(
        self,
        crew: Crew,
        dispatcher: Dispatcher,
        cost: Callable[[Genome], float],
        limit: TimeLimit,
        tried: int = 0,
    ) -> None:
        self._crew = crew
        self._dispatcher = dispatcher
        self._cost = cost
        self._tried = tried
        self.limit: TimeLimit | None = limit

    def start(self, candidates: int) -> None:
        """Start workers and wait until one has loaded everything.

        Raises:
            BackendError: none can, in one line.
        """
        self._dispatcher.muster(candidates)

    def evaluate(
        self, genomes: Sequence[Genome], floors: Sequence[Floor] | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcomes as they come.

        Raises:
            BackendError: workers cannot start, or there was none for too long.
        """
        lowest = [UNKNOWN] * len(genomes) if floors is None else floors
        jobs = [(genome.packed, floor) for genome, floor in zip(genomes, lowest, strict=True)]
        for index, result in self._dispatcher.run(jobs, [self._cost(genome) for genome in genomes]):
            if isinstance(result, GivenUp):
                tries = self._tried + self._dispatcher.max_retries + 1
                result = Outcome(genomes[index].key, {}, {}, 0.0, given_up(tries, result.reason))
            yield index, result

    def figures(self) -> dict[str, str]:
        """What was lost."""
        use = self._dispatcher.use
        counts = {"workers lost": use.lost, "tried again": use.retried}
        return {name: str(count) for name, count in counts.items() if count}

    def close(self) -> None:
        """End the workers."""
        self._crew.close()


class RayBackend(CrewBackend):
    """Many candidates at once, on workers that load everything once. Ray must be connected.

    Args:
        evaluate: genome and what is known of it before, to outcome.
        threads: torch threads of an evaluation, and CPUs that a worker takes.
        gpus: GPUs that a worker takes; 0.25 puts four on one.
        workers: how many at most; ``None`` is as many as the nodes hold, those that join included.
        max_retries: times that a candidate is tried again when its worker dies.
        cost: what a genome costs to evaluate, on any scale: the dearest go first.
        private: tensors within ``evaluate`` that it may write to.
        patience: seconds without any worker after which to give up.
        limit: how long a candidate may take.

    Raises:
        BackendError: ``evaluate`` holds something that cannot be pickled.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        *,
        threads: int,
        gpus: float = 0.0,
        workers: int | None = None,
        max_retries: int = 2,
        cost: Callable[[Genome], float] = lambda genome: 0.0,
        private: Iterable[Tensor] = (),
        patience: float = PATIENCE_SECONDS,
        limit: TimeLimit | None = None,
    ) -> None:
        limit = limit or TimeLimit()
        loading = Loading(_packed(evaluate, private), threads, Numerics.now(), versions())
        crew = RayCrew(loading, Needs(threads, gpus), workers, fails=_failed)
        dispatcher = Dispatcher(crew, max_retries, again=_out_of_memory, patience=patience, limit=_told(limit))
        super().__init__(crew, dispatcher, cost, limit)

    def figures(self) -> dict[str, str]:
        """Workers, their idle share so far, and what was lost."""
        use = self._dispatcher.use
        return {"workers": str(len(self._crew)), "idle": f"{use.idle_share:.0%}", **super().figures()}


class IsolatedBackend(CrewBackend):
    """One candidate after the other, in the order they come, in one process beside this one.

    Args:
        evaluate: genome and what is known of it before, to outcome.
        threads: torch threads of an evaluation.
        tries: how often a candidate is tried that ends the process, or takes too long.
        tried: how often it has been before.
        limit: how long a candidate may take.

    Raises:
        BackendError: ``evaluate`` holds something that cannot be pickled.
    """

    one_by_one = True

    def __init__(
        self, evaluate: Evaluate, *, threads: int, tries: int, tried: int = 0, limit: TimeLimit | None = None
    ) -> None:
        limit = limit or TimeLimit()
        loading = Loading(_packed(evaluate, ()), threads, Numerics.now(), versions())
        crew = ChildCrew(loading)
        super().__init__(crew, Dispatcher(crew, tries - 1, limit=_told(limit)), lambda genome: 0.0, limit, tried)


def given_up(tries: int, reason: str) -> str:
    """Why a candidate failed that has ended processes, or taken too long.

    >>> given_up(2, "exit status 3")
    'given up after 2 tries: exit status 3'
    """
    return f"given up after {tries} {'try' if tries == 1 else 'tries'}: {reason}"


def versions() -> dict[str, str]:
    """What results depend on, or what pickled objects need to be read."""
    return {"gaprune": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _packed(evaluate: Evaluate, private: Iterable[Tensor]) -> Parcel:
    try:
        return pack(evaluate, private)
    except Exception as error:  # a stranger's network or objective may hold anything
        raise BackendError(f"cannot be sent to workers: {type(error).__name__}: {first_line(error)}") from error


def _told(limit: TimeLimit) -> Callable[[], tuple[float, str]]:
    return lambda: (limit.seconds, too_long(limit.seconds))


def _failed(result: Any) -> bool:
    return result.failure is not None


def _out_of_memory(result: Any) -> str | None:
    failure = result.failure
    return failure if failure is not None and failure.startswith(OUT_OF_MEMORY) else None
