"""Search, recover, search again: each search prunes a network that the search before found and training recovered.

Compensation fits what is left to the outputs of the network that it prunes; a smaller network that knows as much as
the original is a better one to prune deeper. Each iteration is a run directory of its own inside the run's, and the
front is what is not dominated among the members of all of them. What a finished iteration has found stands in its
manifest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gaprune.campaigns.hand_out import PartNetwork, hand_out
from gaprune.campaigns.iteration_result import PART, RESULT, Iteration, NextStart, read_iteration
from gaprune.campaigns.iteration_start import next_start
from gaprune.campaigns.iterations_report import IterationRow, write_tables
from gaprune.campaigns.part import (
    TRAINED,
    PartsFound,
    Start,
    evaluated_in,
    later_job,
    of_the_original,
    part_directory,
)
from gaprune.evolve import hypervolume
from gaprune.evolve.dominance import is_efficient
from gaprune.front.members import CSV, save_front
from gaprune.progress import Reporter
from gaprune.prune.masks import Masks
from gaprune.runs import FrontRow, RunDirectory, read_csv
from gaprune.saved import read_metrics
from gaprune.session.backends import MakeBackend
from gaprune.session.job import Job
from gaprune.session.loop import FLOPS_LEVELS, check_found, evolve
from gaprune.session.statistics_cache import NAME as STATISTICS
from gaprune.training.loop import SEED_STRIDE


def run_iterations(job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter) -> PartsFound:
    """Run the iterations that are not done yet, and hand out the front over all of them.

    Args:
        job: of the true original.
        run: where the iterations' own directories lie.
        make_backend: for each iteration's evaluator.
        reporter: told of each iteration, and of its gain.

    Raises:
        RunError: an iteration's directory does not fit, or every candidate of one failed.
    """
    done: list[Iteration] = []
    table: list[IterationRow] = []
    start: NextStart | None = None
    for number in itertools.count(1):
        path = _path(run, number)
        finished = read_iteration(path)
        if finished is None and number > job.options.iterations:
            break
        if done:
            start = next_start(job, _path(run, number - 1), done[-1], start, reporter)
            if start is None:
                reporter.say(f"the iterations end after {len(done)}")
                break
        made = finished or _search(job, run, number, start, make_backend, reporter)
        (path / STATISTICS).unlink(missing_ok=True)
        done.append(made)
        table.append(_table_row(job, run, done, start, table))
        if finished is None:
            run.note_seconds(job.since)
            write_tables(job, run.path, table)
            reporter.say(table[-1].line(job.options.iterations))
    write_tables(job, run.path, table)
    evaluated = evaluated_in(_path(run, one.number) for one in done)
    return PartsFound(_front(job, run, done), evaluated)


def _search(
    whole: Job,
    run: RunDirectory,
    number: int,
    start: NextStart | None,
    make_backend: MakeBackend,
    reporter: Reporter,
) -> Iteration:
    """One search, of the original or of what was recovered, with a front of its own."""
    path, job, so_far = _path(run, number), whole, Masks.full(whole.space.graph)
    if start is not None:
        place, source = _path(run, number - 1) / TRAINED, f"what iteration {number - 1} left, trained on"
        so_far = whole.space.masks(start.genome)
        job = later_job(whole, Start(place, start.genome, source), path, reporter)
    job = replace(job, options=replace(job.options, seed=job.options.seed + SEED_STRIDE * (number - 1)))
    with part_directory(path, job, {PART: number}) as directory:
        if number > 1:  # those of the original are the whole run's
            job.kept.save(path)
        backend = make_backend(job)
        try:
            found = evolve(job, directory, backend, reporter)
        finally:
            backend.close()
        check_found(found, directory)
        rows = save_front(job, directory, found, reporter)
        by_key = {genome.key: genome for genome in found.genomes}
        iteration = Iteration(
            number=number,
            genomes=tuple(of_the_original(whole, so_far, job, by_key[row.key], row) for row in rows),
            evaluations=len(found.evaluated),
            seconds=round(sum(outcome.seconds for outcome in found.evaluated.values()), 3),
        )
        directory.update_manifest(**{RESULT: iteration.record()})
    return iteration


@dataclass(frozen=True)
class _Member:
    """A member of an iteration's own front."""

    row: FrontRow
    number: int
    network: PartNetwork
    minimised: tuple[float, ...]
    violation: float


def _members(job: Job, run: RunDirectory, iteration: Iteration) -> list[_Member]:
    path = _path(run, iteration.number)
    found = []
    for row, genome in zip(read_csv(path / CSV), iteration.genomes, strict=True):
        metrics = read_metrics(path / row.path, "made", "minimised", "violation")
        after = "" if iteration.number == 1 else f", from what iteration {iteration.number - 1} left, trained on"
        network = PartNetwork(
            source=path / row.path,
            genome=genome,
            search_accuracy=row.search_accuracy,
            test_accuracy=row.test_accuracy,
            objectives=row.objectives,
            made=f"in iteration {iteration.number}{after}, without training since: {metrics['made']}",
            part={PART: iteration.number},
        )
        minimised = tuple(metrics["minimised"][objective.name] for objective in job.objectives)
        found.append(_Member(row, iteration.number, network, minimised, metrics["violation"]))
    return found


def _undominated(members: Sequence[_Member]) -> list[_Member]:
    """The front over several fronts, fewest FLOPs first; of members that are worth the same the first."""
    worth = [(one.minimised, one.violation) for one in members]
    first = [one for place, one in enumerate(members) if worth.index(worth[place]) == place]
    efficient = is_efficient(np.array([one.minimised for one in first]), np.array([one.violation for one in first]))
    front = [one for one, stays in zip(first, efficient, strict=True) if stays]
    return sorted(front, key=lambda one: (one.row.flops, -one.number))


def _front(job: Job, run: RunDirectory, done: Sequence[Iteration]) -> list[FrontRow]:
    table = run.path / CSV
    if table.exists() and run.manifest.get("iterations_done") == len(done):
        return read_csv(table)
    members = [member for iteration in done for member in _members(job, run, iteration)]
    return hand_out(job, run, [one.network for one in _undominated(members)], {"iterations_done": len(done)})


def _table_row(
    job: Job,
    run: RunDirectory,
    done: Sequence[Iteration],
    start: NextStart | None,
    before: Sequence[IterationRow],
) -> IterationRow:
    """What the front over the iterations done is worth by now."""
    front = _undominated([member for iteration in done for member in _members(job, run, iteration)])
    Y = np.array([one.minimised for one in front if one.violation == 0])
    reference = np.array([objective.reference for objective in job.objectives])
    best: dict[float, tuple[float, float | None]] = {}
    for level in FLOPS_LEVELS:
        within = [one.row for one in front if one.row.flops_share <= level]
        if within:
            row = max(within, key=lambda row: row.search_accuracy)
            best[level] = (row.search_accuracy, row.test_accuracy)
    volume = hypervolume(Y, reference) if len(Y) else 0.0
    return IterationRow(
        number=done[-1].number,
        start=None if start is None else start.figures,
        evaluations=done[-1].evaluations,
        seconds=done[-1].seconds,
        members=len(front),
        own_members=sum(one.number == done[-1].number for one in front),
        hypervolume=volume,
        gain=volume - before[-1].hypervolume if before else None,
        best=best,
    )


def _path(run: RunDirectory, number: int) -> Path:
    return run.path / f"iteration-{number}"
