"""The paper's method whole: searches one after the other, each on the network that the one before left.

Each round is a run directory of its own inside the run's. What a finished round has found stands in its manifest, so
going on with a run needs none of the finished rounds' networks but the last.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from gaprune.campaigns.part import (
    STATES,
    PartsFound,
    Start,
    evaluated_in,
    later_job,
    of_the_original,
    part_directory,
)
from gaprune.campaigns.retrain import retrain
from gaprune.campaigns.round_result import RoundResult, read_result
from gaprune.campaigns.rounds_report import save_rounds, write_tables
from gaprune.evolve import Rounds
from gaprune.front.members import save_front
from gaprune.progress import Reporter
from gaprune.prune.lineage import present_kernels
from gaprune.prune.masks import Masks
from gaprune.runs import RunDirectory
from gaprune.runs.directory import SECONDS
from gaprune.session.backends import MakeBackend
from gaprune.session.job import Job
from gaprune.session.loop import Found, check_found, evolve
from gaprune.session.statistics_cache import NAME as STATISTICS
from gaprune.training.loop import SEED_STRIDE


def run_rounds(job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter) -> PartsFound:
    """Run the rounds that are not done yet, and hand out their networks.

    Args:
        job: of the true original.
        run: where the rounds' own directories lie.
        make_backend: for each round's evaluator.
        reporter: told of each round.

    Raises:
        RunError: a round's directory does not fit, or every candidate of one failed.
    """
    done: list[RoundResult] = []
    for number in itertools.count(1):
        path = _path(run, number)
        result = read_result(path)
        if result is None:
            if number > job.options.rounds:
                break
            if done and _exhausted(job, done[-1]):
                reporter.say(f"every layer is down to one neuron: the rounds end after {len(done)}")
                break
            result = _Round(job, run, number, done[-1] if done else None, reporter).result(make_backend)
            run.note_seconds(job.since)
            _say(result, job, reporter)
        shutil.rmtree(path / STATES, ignore_errors=True)
        done.append(result)
        write_tables(job, run.path, done)
    rows = save_rounds(job, run, done)
    return PartsFound(rows, evaluated_in(_path(run, one.number) for one in done))


def _path(run: RunDirectory, number: int) -> Path:
    return run.path / f"round-{number}"


def _exhausted(job: Job, result: RoundResult) -> bool:
    neurons = job.space.masks(result.genome).neurons
    return all(np.count_nonzero(neurons[group.slice]) <= 1 for group in job.space.graph.groups)


def _say(result: RoundResult, job: Job, reporter: Reporter) -> None:
    costs = job.space.costs(job.space.masks(result.genome))
    reporter.say(
        f"round {result.number} of {job.options.rounds}: accuracy {result.search_accuracy:.4f} on the search images, "
        f"{costs.flops / 1e6:.2f} million FLOPs ({costs.flops / job.original.flops:.1%}), "
        f"{costs.params:,} parameters ({costs.params / job.original.params:.1%})"
    )


class _Round:
    """One round that is not finished.

    Args:
        job: of the true original.
        run: the whole run's directory.
        number: from 1.
        before: the round before; ``None`` for the first.
        reporter: told what happens.
    """

    def __init__(
        self, job: Job, run: RunDirectory, number: int, before: RoundResult | None, reporter: Reporter
    ) -> None:
        self._whole = job
        self._number = number
        self._reporter = reporter
        self._path = _path(run, number)
        self._so_far = Masks.full(job.space.graph) if before is None else job.space.masks(before.genome)
        shares = job.options.round_share
        self._share = shares[min(number, len(shares)) - 1]
        reporter.say(f"round {number} of {job.options.rounds}: {self._share:.0%} of the genes go")
        if before is not None:
            job = later_job(job, self._start(run, before), self._path, reporter)
        self._job = replace(job, options=replace(job.options, generations=job.options.round_generations))

    def result(self, make_backend: MakeBackend) -> RoundResult:
        """Search, build the best network, train it if that is wanted, and note it all in the round's manifest."""
        with part_directory(self._path, self._job, {"round": self._number}) as directory:
            if self._number > 1:  # those of the original are the whole run's
                self._job.kept.save(self._path)
            found = self._search(directory, make_backend)
            (row,) = save_front(self._job, directory, found, self._reporter)
            genome = of_the_original(self._whole, self._so_far, self._job, found.genomes[0], row)
            result = RoundResult(
                number=self._number,
                genome=genome,
                place=f"{self._path.name}/{row.path}",
                search_accuracy=row.search_accuracy,
                test_accuracy=row.test_accuracy,
                objectives=row.objectives,
                share=self._share,
                evaluations=len(found.evaluated),
                seconds=sum(outcome.seconds for outcome in found.evaluated.values()),
                wall_seconds=directory.manifest.get(SECONDS),
            )
            if self._job.options.round_epochs:
                whole = self._whole.space
                kernels = present_kernels(whole.graph, whole.masks(genome))
                result = retrain(self._job, result, found.genomes[0], kernels, directory, self._reporter)
            directory.update_manifest(result=result.record())
            (self._path / STATISTICS).unlink(missing_ok=True)
        return result

    def _search(self, directory: RunDirectory, make_backend: MakeBackend) -> Found:
        job, options = self._job, self._job.options
        algorithm = Rounds(
            job.space,
            objectives=len(job.objectives),
            population=options.population,
            seed=options.seed + SEED_STRIDE * (self._number - 1),
            share=self._share,
            selected=options.selected,
            cut=options.cut,
            mutation_rate=options.mutation_rate,
        )
        backend = make_backend(job)
        try:
            found = evolve(job, directory, backend, self._reporter, algorithm)
        finally:
            backend.close()
        check_found(found, directory)
        return found

    def _start(self, run: RunDirectory, before: RoundResult) -> Start:
        return Start(run.path / before.place, before.genome, f"what round {before.number} left")
