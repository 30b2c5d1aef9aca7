"""Search, recover, search again: each search prunes a network that the search before found and training recovered.

Compensation fits what is left to the outputs of the network that it prunes; a smaller network that knows as much as
the original is a better one to prune deeper. Each iteration is a run directory of its own inside the run's, and the
front is what is not dominated among the members of all of them. What a finished iteration has found stands in its
manifest.
"""

from __future__ import annotations

import base64
import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gaprune.driver.again import SEED_STRIDE, Start, later_job, of_the_original, part_directory
from gaprune.driver.hand_out import PartNetwork, hand_out
from gaprune.driver.iterations_report import IterationRow, Recovered, write_tables
from gaprune.driver.kept import NAME as STATISTICS
from gaprune.driver.loop import FLOPS_LEVELS, evolve
from gaprune.driver.members import CSV, member_config, save_front
from gaprune.driver.recovery import distillation, gentle_recipe, recover
from gaprune.driver.rounds import MakeBackend
from gaprune.driver.setup import Job
from gaprune.errors import OptionError, RunError
from gaprune.evaluate import Outcome
from gaprune.evolve import hypervolume
from gaprune.evolve.dominance import is_efficient
from gaprune.progress import Reporter
from gaprune.prune.genome import Genome
from gaprune.prune.lineage import present_kernels
from gaprune.prune.masks import Masks
from gaprune.runs import EvaluationLog, FrontRow, RunDirectory, pick, read_csv, read_manifest
from gaprune.runs.directory import LOG_NAME, MANIFEST_NAME
from gaprune.runs.files import read_json_object
from gaprune.saved import METRICS, load, save_compact, save_genome

PART = "iteration"
"""Of a manifest: that the directory is an iteration of a run, and which."""

RESULT, RECOVERED = "result", "recovered"
"""Of an iteration's manifest: what it found, and the training of a member that the next iteration starts from."""

TRAINED, STATES = "trained", "training"
TEMPERATURE, WEIGHT = 4.0, 0.9
"""Of the original's answers, in recovery."""


Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Recovery:
    """A member of an iteration, trained on.

    Attributes:
        genome: what it has left of the true original.
        figures: what training made of it.
    """

    genome: Genome
    figures: Recovered

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {"genome": _text(self.genome), **asdict(self.figures)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Recovery:
        """The recovery that ``record`` stands for."""
        figures = {name: value for name, value in record.items() if name != "genome"}
        figures |= {name: tuple(figures[name]) for name in ("before", "after")}
        return cls(_genome(record["genome"]), Recovered(**figures))


@dataclass(frozen=True)
class Iteration:
    """A finished iteration.

    Attributes:
        number: from 1.
        genomes: by the index of the iteration's own front, what a member has left of the true original.
        evaluations: candidates that were evaluated.
        seconds: time that their evaluation took.
    """

    number: int
    genomes: tuple[Genome, ...]
    evaluations: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "genomes": [_text(genome) for genome in self.genomes]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Iteration:
        """The iteration that ``record`` stands for."""
        return cls(**{**record, "genomes": tuple(_genome(text) for text in record["genomes"])})


@dataclass(frozen=True)
class IterationsFound:
    """What all iterations have found.

    Attributes:
        rows: the front over all of them, fewest FLOPs first, counted against the true original.
        evaluated: every outcome of every iteration, by iteration and genome key.
    """

    rows: list[FrontRow]
    evaluated: dict[str, Outcome]


def run_iterations(job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter) -> IterationsFound:
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
    for number in itertools.count(1):
        path = _path(run, number)
        finished = _read(path, RESULT, Iteration.from_record)
        if finished is None and number > job.options.iterations:
            break
        recovery = None
        if done:
            recovery = _recovered(job, run, done[-1], reporter)
            if recovery is None:
                reporter.say(f"no member is small enough to start from: the iterations end after {len(done)}")
                break
        if finished is None:
            finished = _search(job, run, number, recovery, make_backend, reporter)
        done.append(finished)
        table.append(_table_row(job, run, done, recovery, table))
        write_tables(job, run.path, table)
        reporter.say(table[-1].line(job.options.iterations))
    return IterationsFound(_front(job, run, done), _evaluated(run, len(done)))


def _search(
    whole: Job,
    run: RunDirectory,
    number: int,
    recovery: Recovery | None,
    make_backend: MakeBackend,
    reporter: Reporter,
) -> Iteration:
    """One search, of the original or of what was recovered, with a front of its own."""
    path, job, so_far = _path(run, number), whole, Masks.full(whole.space.graph)
    if recovery is not None:
        start = Start(
            _path(run, number - 1) / TRAINED, recovery.genome, f"what iteration {number - 1} left, trained on"
        )
        so_far = whole.space.masks(recovery.genome)
        job = later_job(whole, start, path, reporter)
    job = replace(job, options=replace(job.options, seed=job.options.seed + SEED_STRIDE * (number - 1)))
    with part_directory(path, job, {PART: number}) as directory:
        if number > 1:  # those of the original are the whole run's
            job.kept.save(path)
        backend = make_backend(job)
        try:
            found = evolve(job, directory, backend, reporter)
        finally:
            backend.close()
        if not found.genomes:
            reasons = sorted({str(outcome.failure) for outcome in found.evaluated.values()})
            raise RunError(f"every candidate failed, see {directory.log.path}: {reasons[0]}")
        rows = save_front(job, directory, found, reporter)
        by_key = {genome.key: genome for genome in found.genomes}
        iteration = Iteration(
            number=number,
            genomes=tuple(of_the_original(whole, so_far, job, by_key[row.key], row) for row in rows),
            evaluations=len(found.evaluated),
            seconds=round(sum(outcome.seconds for outcome in found.evaluated.values()), 3),
        )
        directory.update_manifest(**{RESULT: iteration.record()})
        (path / STATISTICS).unlink(missing_ok=True)
    return iteration


def _recovered(job: Job, run: RunDirectory, iteration: Iteration, reporter: Reporter) -> Recovery | None:
    """The member that the next iteration starts from, trained on; ``None`` where none is small enough."""
    path = _path(run, iteration.number)
    finished = _read(path, RECOVERED, Recovery.from_record)
    if finished is not None:
        return finished
    earlier = _read(_path(run, iteration.number - 1), RECOVERED, Recovery.from_record)
    largest = (1.0 if earlier is None else earlier.figures.flops_share) * job.options.iteration_share
    try:
        row = pick(read_csv(path / CSV), f"flops<={largest!r}")
    except OptionError:
        return None
    genome = iteration.genomes[row.index]
    reporter.say(
        f"recovering member {row.index} of iteration {iteration.number}: {row.flops_share:.1%} of the FLOPs, "
        f"{job.options.iteration_epochs} epochs"
    )
    with RunDirectory.open(path) as directory:
        network = load(path / row.path, model=job.own.model).to(job.splits.search.images.device)
        made = recover(
            job,
            network,
            present_kernels(job.space.graph, job.space.masks(genome)),
            gentle_recipe(job, job.options.iteration_epochs),
            path / STATES,
            reporter,
            lesson=distillation(job, temperature=TEMPERATURE, weight=WEIGHT),
        )
        figures = Recovered(
            flops_share=row.flops_share,
            before=(row.search_accuracy, row.test_accuracy or 0.0),
            after=(made.found.accuracy, made.tested),
            epochs=len(made.records),
            seconds=round(made.seconds, 3),
        )
        recovery = Recovery(genome, figures)
        metrics = {"search_accuracy": made.found.accuracy, "test_accuracy": made.tested}
        save_compact(path / TRAINED, network, member_config(job), metrics)
        save_genome(path / TRAINED, genome, job.space.layout)
        directory.update_manifest(**{RECOVERED: recovery.record()})
        shutil.rmtree(path / STATES, ignore_errors=True)
    return recovery


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
        metrics = read_json_object(path / row.path / METRICS)
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
    recovery: Recovery | None,
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
        start=None if recovery is None else recovery.figures,
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


def _read(path: Path, name: str, from_record: Callable[[dict[str, Any]], Kind]) -> Kind | None:
    """What stands in an iteration's manifest; ``None`` where it is not there yet."""
    if not (path / MANIFEST_NAME).exists():
        return None
    record = read_manifest(path).get(name)
    try:
        return None if record is None else from_record(record)
    except (TypeError, KeyError, ValueError) as error:
        raise RunError(f"{path / MANIFEST_NAME} is damaged: {error!r}") from error


def _evaluated(run: RunDirectory, iterations: int) -> dict[str, Outcome]:
    return {
        f"{number}/{record['key']}": Outcome.from_record(record)
        for number in range(1, iterations + 1)
        for record in EvaluationLog(_path(run, number) / LOG_NAME).load()
    }


def _text(genome: Genome) -> str:
    return base64.b64encode(genome.packed).decode()


def _genome(text: str) -> Genome:
    return Genome(base64.b64decode(text))
