"""The search itself: ask, evaluate what is new, tell, save the state; again until the last generation."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

import numpy as np

from gaprune.device import give_back_memory
from gaprune.errors import RunError
from gaprune.evaluate import Backend, Floors, Outcome, expected_matrix, judged_value, objective_matrix, violations
from gaprune.evolve import Algorithm, AlgorithmState, hypervolume, make_algorithm
from gaprune.genome import Genome
from gaprune.progress import Reporter, Task
from gaprune.runs import PARTS, STAGES, STATE_NAME, RunDirectory
from gaprune.session.afterwards import Afterwards
from gaprune.session.backends import MakeBackend, isolated
from gaprune.session.callbacks import Generation, tell
from gaprune.session.engine import largest_budget
from gaprune.session.guard import guarded
from gaprune.session.handing_out import MEASURED, Candidate, hand_out
from gaprune.session.job import Job
from gaprune.session.logged import logged_outcomes
from gaprune.session.workload import Pieces, Workload

_log = logging.getLogger(__name__)

FLOPS_LEVELS = (0.5, 0.25, 0.1)
"""Shares of the original's FLOPs at which progress shows the best accuracy."""

LOGGED = "logged"
"""Of a state: how many evaluations its generation and those before it have asked for."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        genomes: the front, most accurate (first objective) first.
        outcomes: theirs, in the same order.
        evaluated: every outcome of the run, by genome key.
        generation: generations done.
        rungs: what the search stands on, see ``Algorithm.rungs``.
    """

    genomes: list[Genome]
    outcomes: list[Outcome]
    evaluated: dict[str, Outcome]
    generation: int
    rungs: list[Genome]


def run_search(
    job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter, algorithm: Algorithm | None = None
) -> Found:
    """``evolve`` on a backend of its own, then the choice of what is handed out.

    Raises:
        RunError: as ``evolve`` does, or every candidate failed, with a reason.
    """
    backend = guarded(make_backend(job), run.path, lambda tried: isolated(job, tried), job.own.end)
    try:
        found = evolve(job, run, backend, reporter, algorithm)
    finally:
        backend.close()
    check_found(found, run)
    return chosen(job, run, found, reporter)


def chosen(job: Job, run: RunDirectory, found: Found, reporter: Reporter) -> Found:
    """What was found, with those on its front that are handed out.

    A front is chosen from where one objective is measured on images and the other counted, and something keeps to the
    constraints; elsewhere all of it is handed out.
    """
    names = [objective.name for objective in job.objectives]
    measured, counted = [name for name in names if name in MEASURED], [o.name for o in job.objectives if o.costs_only]
    of_images = job.material.score is None
    if not of_images or len(names) != 2 or not measured or not counted or found.outcomes[0].violation > 0:
        return found

    def candidates(genomes: Sequence[Genome]) -> list[Candidate]:
        pairs = [(genome, found.evaluated[genome.key]) for genome in genomes]
        sound = [(g, o) for g, o in pairs if o.failure is None and not o.bound and o.violation == 0]
        return [Candidate(g, o, o.minimised[measured[0]], o.minimised[counted[0]]) for g, o in sound]

    attempts = Afterwards(job, run.path, found.evaluated.values(), reporter)
    front, rungs = candidates(found.genomes), candidates(found.rungs)
    out = hand_out(job, run, front, rungs, found.generation, attempts, reporter)
    return dataclasses.replace(found, genomes=[one.genome for one in out], outcomes=[one.outcome for one in out])


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
        options.evolution.algorithm,
        job.space,
        objectives=len(names),
        population=options.evolution.population,
        seed=options.evolution.seed,
        largest=largest_budget(job.evaluator),
    )
    logged = logged_outcomes(run.log.path)
    _restore(algorithm, run, logged)
    known, earlier = _known(logged, algorithm.generation)
    _expect(backend, job, run)
    for outcome in known.values():
        job.evaluator.remember(outcome)
        _note(backend, outcome)
    asked = {outcome.key for outcome in earlier}
    floors = Floors(job.evaluator)
    floors.learn(earlier)
    with reporter.task("search", options.evolution.population * options.evolution.generations) as task:
        done = min(algorithm.generation, options.evolution.generations)
        ahead = _Ahead(job, done / options.evolution.generations)
        if done:
            task.advance(options.evolution.population * done, share=ahead.share())
        while algorithm.generation < options.evolution.generations:
            genomes = algorithm.ask()
            ahead.begin(genomes, known, options.evolution.generations - algorithm.generation - 1)
            _evaluate(genomes, known, floors, run, backend, task, algorithm.generation, ahead)
            outcomes = [known[genome.key] for genome in genomes]
            asked.update(outcome.key for outcome in outcomes)
            floors.learn(outcomes)
            told, expected = objective_matrix(outcomes, names), expected_matrix(outcomes, names)
            algorithm.tell(genomes, told, violations(outcomes), expected=expected)
            state = algorithm.state()
            run.save_state(algorithm.generation, state.arrays, {**state.meta, LOGGED: len(asked)})
            run.note_seconds(job.since)
            give_back_memory()
            task.advance(0, share=ahead.share(), **_figures(algorithm, known, job), **backend.figures())
            _tell(algorithm, known, job, run)
    genomes, _ = algorithm.front()
    outcomes = [known[genome.key] for genome in genomes]
    return Found(genomes, outcomes, known, algorithm.generation, algorithm.rungs())


def _tell(algorithm: Algorithm, known: dict[str, Outcome], job: Job, run: RunDirectory) -> None:
    """Let the log and the caller's own functions know of a generation that is done."""
    genomes, Y = algorithm.front()
    front = [known[genome.key] for genome in genomes]
    kept = bool(front) and front[0].violation == 0
    reference = np.array([objective.reference for objective in job.objectives])
    generation = Generation(
        path=run.path,
        number=algorithm.generation,
        total=job.options.evolution.generations,
        candidates=len(known),
        failed=sum(outcome.failure is not None for outcome in known.values()),
        front=tuple(dict(outcome.values) for outcome in front),
        hypervolume=float(hypervolume(Y, reference)) if kept else 0.0,
        seconds=time.perf_counter() - job.since,
        original_flops=job.original.flops,
    )
    _log.info("generation %d of %d: %d networks on the front", generation.number, generation.total, len(front))
    of_a_part = any(name in run.manifest for name in PARTS)
    tell(job.own.callbacks, generation, run.path.parent if of_a_part else run.path)


def check_found(found: Found, run: RunDirectory) -> None:
    """Raise ``RunError`` with a reason where every candidate failed."""
    if not found.genomes:
        reasons = sorted({str(outcome.failure) for outcome in found.evaluated.values()})
        raise RunError(f"every candidate failed, see {run.log.path}: {reasons[0]}")


def _known(logged: Sequence[tuple[int, Outcome]], generation: int) -> tuple[dict[str, Outcome], list[Outcome]]:
    """The outcomes logged so far, by genome key, and those that were logged before ``generation`` began.

    The second alone decides when measuring stops, so that a generation that was interrupted goes on as it began.
    """
    known: dict[str, Outcome] = {}
    earlier = []
    for asked_in, outcome in logged:
        known[outcome.key] = outcome
        if asked_in < generation:
            earlier.append(outcome)
    return known, earlier


def _restore(algorithm: Algorithm, run: RunDirectory, logged: Sequence[tuple[int, Outcome]]) -> None:
    """Go on from the newest state whose evaluations are all logged, or begin where there is no state.

    Raises:
        RunError: states do not fit, or each rests on evaluations that the log lacks.
    """
    found, refused = run.latest_state(), ""
    while found is not None:
        number, arrays, meta = found
        earlier = {outcome.key for asked_in, outcome in logged if asked_in < number}
        lost = int(meta.pop(LOGGED, 0)) - len(earlier)
        try:
            algorithm.restore(AlgorithmState(arrays, meta))
        except (ValueError, KeyError) as error:
            raise RunError(f"the state in {run.path} does not fit this search: {error}") from error
        lost = max(lost, len({genome.key for genome in (*algorithm.front()[0], *algorithm.rungs())} - earlier))
        if lost <= 0:
            return
        refused = refused or f"{run.log.path} lacks {lost} evaluations that the run's state rests on"
        _log.warning("state %d rests on %d evaluations that %s lacks: it is passed over", number, lost, run.log.path)
        found = run.latest_state(before=number)
    if refused:
        raise RunError(f"{refused}: remove {run.path / STATE_NAME}, and they are made again")


def _evaluate(
    genomes: Sequence[Genome],
    known: dict[str, Outcome],
    floors: Floors,
    run: RunDirectory,
    backend: Backend,
    task: Task,
    generation: int,
    ahead: _Ahead,
) -> None:
    """Evaluate the genomes that are new, each once, and log them."""
    new = _new(genomes, known)
    if len(new) < len(genomes):
        task.advance(len(genomes) - len(new), share=ahead.share())
    for _, outcome in backend.evaluate(new, floors(new)):
        run.log.append({"generation": generation, **outcome.record()})
        _log.debug("generation %d: %s", generation, outcome)
        known[outcome.key] = outcome
        _note(backend, outcome)
        ahead.remember(outcome)
        ahead.done(outcome)
        task.advance(1, share=ahead.share(), generation=str(generation))


def _expect(backend: Backend, job: Job, run: RunDirectory) -> None:
    """Let the backend know what the search's preparation took, in this process or when the run began."""
    if backend.limit is not None:
        now, begun = time.perf_counter() - job.since, sum(run.manifest.get(STAGES, {}).values())
        backend.limit.expect(max(now, begun))


def _note(backend: Backend, outcome: Outcome) -> None:
    if backend.limit is not None:
        backend.limit.note(outcome)


def _new(genomes: Sequence[Genome], known: dict[str, Outcome]) -> list[Genome]:
    return list({genome.key: genome for genome in genomes if genome.key not in known}.values())


class _Ahead:
    """How much of the search is done: the costs of a generation are known before it is evaluated.

    Those that follow are taken to be like it, with as many new candidates as there have been on average.

    Args:
        job: the search.
        base: share of the generations that earlier processes have done.
    """

    def __init__(self, job: Job, base: float) -> None:
        self._evaluator = job.evaluator
        self._whole = job.evaluator.costs(job.space.full()).flops
        self._work = Workload(base)
        self._costs: dict[str, float] = {}
        self._asked = self._fresh = 0
        self._later = Pieces()
        self._left = 0

    def begin(self, genomes: Sequence[Genome], known: dict[str, Outcome], generations: int) -> None:
        """A generation is asked for; ``generations`` follow it."""
        new = _new(genomes, known)
        self._costs = {genome.key: self._evaluator.costs(genome).flops / self._whole for genome in new}
        self._asked += len(genomes)
        self._fresh += len(new)
        if new:  # else as before
            alike = Pieces.of(self._costs.values()).times(1 / len(new))
            self._later = alike.times(len(genomes) * self._fresh / self._asked)
        self._left = generations

    def remember(self, outcome: Outcome) -> None:
        """What was measured elsewhere is known here."""
        self._evaluator.remember(outcome)

    def done(self, outcome: Outcome) -> None:
        """A candidate of the generation is evaluated."""
        self._work.note(self._costs.pop(outcome.key), outcome.seconds)

    def share(self) -> float:
        """Of the search, 0 to 1."""
        return self._work.share(Pieces.of(self._costs.values()) + self._later.times(self._left))


def _figures(algorithm: Algorithm, known: dict[str, Outcome], job: Job) -> dict[str, str]:
    """What progress shows after a generation."""
    genomes, Y = algorithm.front()
    reference = np.array([objective.reference for objective in job.objectives])
    figures = {"generation": str(algorithm.generation)}
    front = [known[genome.key] for genome in genomes]
    if front and front[0].violation > 0:
        return figures | {"nearest to the constraints": f"{front[0].violation:.1%} off"} | _counts(known)
    figures["hypervolume"] = f"{hypervolume(Y, reference):.4f}"
    pairs = [(judged_value(outcome.values), outcome.values["flops"]) for outcome in front]
    for level in FLOPS_LEVELS:
        within = [value for value, flops in pairs if value is not None and flops <= level * job.original.flops]
        if within:
            figures[f"{job.material.score or 'accuracy'} at {level:.0%} of FLOPs"] = f"{max(within):.3f}"
    return figures | _counts(known)


def _counts(known: dict[str, Outcome]) -> dict[str, str]:
    counts = {
        "stopped early": sum(outcome.bound for outcome in known.values()),
        "failed": sum(outcome.failure is not None for outcome in known.values()),
    }
    return {name: str(count) for name, count in counts.items() if count}
