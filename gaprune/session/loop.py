"""The search itself: ask, evaluate what is new, tell, save the state; again until the last generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gaprune.errors import RunError
from gaprune.evaluate import Backend, Floors, Outcome, expected_matrix, objective_matrix, violations
from gaprune.evolve import Algorithm, AlgorithmState, hypervolume, make_algorithm
from gaprune.progress import Reporter, Task
from gaprune.prune.genome import Genome
from gaprune.runs import RunDirectory
from gaprune.runs.directory import STATE_NAME
from gaprune.session.engine import largest_budget
from gaprune.session.job import Job
from gaprune.session.logged import logged_outcomes

FLOPS_LEVELS = (0.5, 0.25, 0.1)
"""Shares of the original's FLOPs at which progress shows the best accuracy."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        genomes: the front, most accurate (first objective) first.
        outcomes: theirs, in the same order.
        evaluated: every outcome of the run, by genome key.
        generation: generations done.
    """

    genomes: list[Genome]
    outcomes: list[Outcome]
    evaluated: dict[str, Outcome]
    generation: int


def evolve(
    job: Job, run: RunDirectory, backend: Backend, reporter: Reporter, algorithm: Algorithm | None = None
) -> Found:
    """Run the search to its last generation, from the run's newest state if there is one.

    The algorithm is a fresh one, of the job's options by default.

    Every evaluation is in ``evaluations.jsonl`` before it counts, every generation in ``state/``: whatever
    stops the process, at most the evaluation in flight is lost. A candidate that turns out dominated by a network of
    an earlier generation is not measured to the end.

    Raises:
        RunError: the run's state does not fit, or the directory cannot be written.
    """
    options = job.options
    names = [objective.name for objective in job.objectives]
    algorithm = algorithm or make_algorithm(
        options.algorithm,
        job.space,
        objectives=len(names),
        population=options.population,
        seed=options.seed,
        largest=largest_budget(job.evaluator),
    )
    _restore(algorithm, run)
    known, settled = _known(run, algorithm.generation)
    _check_logged(algorithm, known, run)
    floors = Floors(job.evaluator)
    floors.learn(settled)
    with reporter.task("search", options.population * options.generations) as task:
        if algorithm.generation:
            task.advance(options.population * min(algorithm.generation, options.generations))
        while algorithm.generation < options.generations:
            genomes = algorithm.ask()
            _evaluate(genomes, known, floors, run, backend, task, algorithm.generation)
            outcomes = [known[genome.key] for genome in genomes]
            floors.learn(outcomes)
            told, expected = objective_matrix(outcomes, names), expected_matrix(outcomes, names)
            algorithm.tell(genomes, told, violations(outcomes), expected=expected)
            state = algorithm.state()
            run.save_state(algorithm.generation, state.arrays, state.meta)
            run.note_seconds(job.since)
            task.advance(0, **_figures(algorithm, known, job), **backend.figures())
    genomes, _ = algorithm.front()
    return Found(genomes, [known[genome.key] for genome in genomes], known, algorithm.generation)


def check_found(found: Found, run: RunDirectory) -> None:
    """Raise ``RunError`` with a reason where every candidate failed."""
    if not found.genomes:
        reasons = sorted({str(outcome.failure) for outcome in found.evaluated.values()})
        raise RunError(f"every candidate failed, see {run.log.path}: {reasons[0]}")


def _known(run: RunDirectory, generation: int) -> tuple[dict[str, Outcome], list[Outcome]]:
    """The outcomes logged so far, by genome key, and those that were logged before ``generation`` began.

    The second alone decides when measuring stops, so that a generation that was interrupted goes on as it began.
    """
    known: dict[str, Outcome] = {}
    settled = []
    for asked_in, outcome in logged_outcomes(run.log.path):
        known[outcome.key] = outcome
        if asked_in < generation:
            settled.append(outcome)
    return known, settled


def _check_logged(algorithm: Algorithm, known: dict[str, Outcome], run: RunDirectory) -> None:
    lost = sum(genome.key not in known for genome in algorithm.front()[0])
    if lost:
        advice = f"remove {run.path / STATE_NAME}, and they are made again"
        raise RunError(f"{run.log.path} lacks {lost} evaluations that the run's state rests on: {advice}")


def _restore(algorithm: Algorithm, run: RunDirectory) -> None:
    found = run.latest_state()
    if found is None:
        return
    _, arrays, meta = found
    try:
        algorithm.restore(AlgorithmState(arrays, meta))
    except (ValueError, KeyError) as error:
        raise RunError(f"the state in {run.path} does not fit this search: {error}") from error


def _evaluate(
    genomes: Sequence[Genome],
    known: dict[str, Outcome],
    floors: Floors,
    run: RunDirectory,
    backend: Backend,
    task: Task,
    generation: int,
) -> None:
    """Evaluate the genomes that are new, each once, and log them."""
    new = list({genome.key: genome for genome in genomes if genome.key not in known}.values())
    if len(new) < len(genomes):
        task.advance(len(genomes) - len(new))
    for _, outcome in backend.evaluate(new, floors(new)):
        run.log.append({"generation": generation, **outcome.record()})
        known[outcome.key] = outcome
        task.advance(1, generation=str(generation))


def _figures(algorithm: Algorithm, known: dict[str, Outcome], job: Job) -> dict[str, str]:
    """What progress shows after a generation."""
    genomes, Y = algorithm.front()
    reference = np.array([objective.reference for objective in job.objectives])
    figures = {"generation": str(algorithm.generation)}
    front = [known[genome.key] for genome in genomes]
    if front and front[0].violation > 0:
        return figures | {"nearest to the constraints": f"{front[0].violation:.1%} off"} | _counts(known)
    figures["hypervolume"] = f"{hypervolume(Y, reference):.4f}"
    values = [outcome.values for outcome in front]
    for level in FLOPS_LEVELS:
        within = [v["accuracy"] for v in values if "accuracy" in v and v["flops"] <= level * job.original.flops]
        if within:
            figures[f"accuracy at {level:.0%} of FLOPs"] = f"{max(within):.3f}"
    return figures | _counts(known)


def _counts(known: dict[str, Outcome]) -> dict[str, str]:
    counts = {
        "stopped early": sum(outcome.bound for outcome in known.values()),
        "failed": sum(outcome.failure is not None for outcome in known.values()),
    }
    return {name: str(count) for name, count in counts.items() if count}
