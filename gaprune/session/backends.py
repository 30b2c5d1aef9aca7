"""The backend of a search: where the options place it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

from gaprune.evaluate import Backend, LocalBackend
from gaprune.progress import Reporter
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
    if not placement.ray:
        yield lambda job: LocalBackend(job.evaluator, threads=job.threads)
        return
    from gaprune.cluster import session as cluster  # Ray is imported by those who use it

    session = cluster.connect(placement.address, cluster.Needs(placement.threads, placement.gpus), placement.workers)
    made: list[Backend] = []

    def make_backend(job: Job) -> Backend:
        close_all()  # one at a time: what it has shipped leaves the object store with it
        made.append(_ray_backend(job, placement))
        return made[-1]

    def close_all() -> None:
        while made:
            made.pop().close()

    try:
        reporter.say(_welcome(placement, session))
        yield make_backend
    finally:
        close_all()
        session.close()


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
        private=chain(model.parameters(), model.buffers()),
    )


def _welcome(placement: Placement, session: Connection) -> str:
    from gaprune.cluster import session as cluster

    where = "on this machine" if session.address == cluster.OWN else f"at {session.address}"
    needs = cluster.Needs(placement.threads, placement.gpus)
    most = "as many workers as fit" if placement.workers is None else f"at most {placement.workers} workers"
    return f"ray {where}, {cluster.described()}; {most}, {needs} each"
