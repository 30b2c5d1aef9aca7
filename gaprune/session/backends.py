"""The backend of a search: where the options place it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from gaprune.evaluate import Backend, LocalBackend, TimeLimit
from gaprune.progress import Reporter
from gaprune.session.guard import TRIES
from gaprune.session.job import Job
from gaprune.session.placement import Placement

if TYPE_CHECKING:
    from gaprune.cluster import Connection

MakeBackend = Callable[[Job], Backend]
"""Makes the backend of a job's evaluator."""


@contextmanager
def open_backend(placement: Placement, reporter: Reporter) -> Iterator[MakeBackend]:
    """Connect to where candidates will be evaluated, before anything long is prepared; disconnect in the end.

    Raises:
        GapruneError: no cluster can be joined, in one line.
    """
    if not placement.ray and not placement.isolate:
        yield lambda job: LocalBackend(job.evaluator, threads=job.threads, limit=_limit(job))
        return
    if not placement.ray:
        with _one_at_a_time(isolated) as make_backend:
            yield make_backend
        return
    from gaprune.cluster import session as cluster  # Ray is imported by those who use it

    session = cluster.connect(placement.address, cluster.Needs(placement.threads, placement.gpus), placement.workers)
    try:
        reporter.say(_welcome(placement, session))
        with _one_at_a_time(lambda job: _ray_backend(job, placement)) as make_backend:
            yield make_backend
    finally:
        session.close()


@contextmanager
def _one_at_a_time(make: MakeBackend) -> Iterator[MakeBackend]:
    """The same, but a backend is closed when the next is made: what it has shipped leaves memory with it."""
    made: list[Backend] = []

    def close_all() -> None:
        while made:
            made.pop().close()

    def make_backend(job: Job) -> Backend:
        close_all()
        made.append(make(job))
        return made[-1]

    try:
        yield make_backend
    finally:
        close_all()


def isolated(job: Job, tried: int = 0) -> Backend:
    """A process beside this one for a job's candidates, one after the other.

    Args:
        job: the search.
        tried: how often they have been tried before.

    Raises:
        BackendError: the network or an objective cannot be sent there.
    """
    from gaprune.cluster import IsolatedBackend  # which imports Ray

    tries = max(TRIES - tried, 1)
    return IsolatedBackend(job.evaluator, threads=job.threads, tries=tries, tried=tried, limit=_limit(job))


def _limit(job: Job) -> TimeLimit:
    return TimeLimit(job.options.cluster.candidate_timeout)


def started(make_backend: MakeBackend, job: Job) -> MakeBackend:
    """The same, its first backend made and started at once: what cannot work is told before a run is begun.

    Raises:
        BackendError: one line that says what is missing.
    """
    waiting = [make_backend(job)]
    waiting[0].start(job.options.evolution.population)
    return lambda job: waiting.pop() if waiting else make_backend(job)


def _ray_backend(job: Job, placement: Placement) -> Backend:
    from gaprune.cluster import RayBackend

    evaluator, model = job.evaluator, job.baseline.model
    return RayBackend(
        evaluator,
        threads=job.threads,
        gpus=placement.gpus,
        workers=placement.workers,
        max_retries=job.options.cluster.max_retries,
        cost=lambda genome: evaluator.costs(genome).flops,
        limit=_limit(job),
        private=chain(model.parameters(), model.buffers()),
    )


def _welcome(placement: Placement, session: Connection) -> str:
    from gaprune.cluster import session as cluster

    where = "on this machine" if session.address == cluster.OWN else f"at {session.address}"
    needs = cluster.Needs(placement.threads, placement.gpus)
    most = "as many workers as fit" if placement.workers is None else f"at most {placement.workers} workers"
    return f"ray {where}, {cluster.described()}; {most}, {needs} each"
