"""``python -m gaprune.search``, and ``gaprune.search`` for a caller's own network, start to end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Unpack

from torch import nn

from gaprune.campaigns import IterationsPolicy, RoundsPolicy, run_campaign
from gaprune.commands.boards import boards
from gaprune.commands.lines import SEARCH as PROG
from gaprune.commands.lines import search_main as main
from gaprune.commands.result import SearchResult, report_of, show_result
from gaprune.data import ImageData
from gaprune.device import in_turn
from gaprune.errors import BackendError, OptionError, OutputError, RunError, first_line
from gaprune.evaluate import Objective, Outcome
from gaprune.front import check_identity, draw, part_of, save_front, save_ladder
from gaprune.kinds import REPORTER, check
from gaprune.options import (
    HUNG,
    ROUNDS,
    Interrupted,
    Options,
    SearchKeywords,
    SearchOptions,
    end_at_once,
    from_keywords,
    named_again,
    out_of_memory,
    output_error,
    record,
    resumed_options,
    settled,
    typed_command,
)
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.prune import Costs
from gaprune.recovery import recover_by_task, recover_front
from gaprune.runs import MEGABYTE, FrontRow, RunDirectory, check_free, default_run_path, pick, read_manifest
from gaprune.session import (
    Before,
    Callback,
    Checked,
    Job,
    MakeBackend,
    Own,
    check_callbacks,
    check_kinds,
    check_names,
    check_task_kind,
    check_task_resume,
    data_options,
    of_a_callback,
    open_backend,
    prepare,
    prepare_task,
    run_search,
    started,
)
from gaprune.tasks import Task

__all__ = ["Interrupted", "SearchResult", "command", "main", "search"]

RUNS = Path("runs")

PREPARING, SEARCHING, BUILDING = "preparing: graph, statistics, original", "searching", "front: built and tested"
"""Stages of a search, as its manifest has their times."""


def search(
    model: nn.Module | str,
    data: ImageData | str | Path | None = None,
    *,
    task: Task | None = None,
    objectives: Sequence[str | Objective] | None = None,
    reporter: Reporter | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[SearchKeywords],
) -> SearchResult:
    """Search the front of a trained network and save it; what the command does, for Python.

    Args:
        model: a trained network (its weights are read, never changed), or a name as in ``--model``.
        data: ``gaprune.image_data(...)`` or other ``ImageData``, a name as in ``--data``, or the path of a folder.
        task: ``gaprune.Task(...)`` instead of data, where the network does anything but classify images.
        objectives: two or more names or ``Objective`` objects; accuracy (or a task's score) and flops by default.
        reporter: where progress and the result go; by default as the command shows them.
        callbacks: functions that are told of each ``Generation`` when it is done and saved. What one raises stops the
            search and comes out of this call; ``resume`` goes on from there.
        **options: any other option of the command, by its name with underscores (``population=30``).

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    if task is None:
        check_kinds(model, data, by_name=True)
    else:
        check_task_kind(task, model, data)
    check({"reporter": (reporter, REPORTER.or_none())})
    own = Own(
        model=None if isinstance(model, str) else model,
        data=data if isinstance(data, ImageData) else None,
        objectives=objectives,
        task=task,
        callbacks=check_callbacks(callbacks),
    )
    if objectives is not None and (isinstance(objectives, str) or not isinstance(objectives, Sequence)):
        raise OptionError(f"objectives must be a list of names, got {objectives!r}")
    named = _named(model, data, objectives)
    given = {**from_keywords(SearchOptions, options, ("model", "data", "objectives")), **named}
    made = SearchOptions.of(**given, given=frozenset(given))
    return shown(made, own, make_reporter() if reporter is None else reporter)


@in_turn()
def shown(options: SearchOptions, own: Own, reporter: Reporter) -> SearchResult:
    """Search, and show what was found; nothing where that is asked for."""
    level = options.screen.log_level if "log_level" in options.given else None
    with heard(reporter, quiet=options.screen.quiet, log_level=level) as told, boards(options) as writers:
        result = _run(options, replace(own, callbacks=(*own.callbacks, *writers)), told)
        with _stoppable(result.path, own, options):
            show_result(result, told, every=options.screen.all)
    return result


def _named(model: object, data: object, objectives: Sequence[str | Objective] | None) -> dict[str, Any]:
    """The options that arguments stand for which are no objects."""
    found: dict[str, Any] = {}
    if isinstance(model, str):
        found["model"] = model
    found |= data_options(data)
    if objectives is not None:
        found["objectives"] = tuple(item.name if isinstance(item, Objective) else str(item) for item in objectives)
    return found


def command(options: SearchOptions) -> None:
    """Do what the command line says, and show the front.

    Raises:
        GapruneError: anything that the user can mend, in one line.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter()
    with interruptible(options):
        result = shown(options, Own(end=_end), reporter)
    if options.screen.quiet:
        reporter.say(str(result.path))


@contextmanager
def interruptible(options: Options) -> Iterator[None]:
    """Let Ctrl-C before a run has a directory say how to begin again."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        where = "before the search began; a baseline in training keeps its epochs"
        raise Interrupted(f"stopped {where}; go on with: {typed_command(PROG, options)}") from None


def _end(line: str, folder: Path, then: str) -> NoReturn:
    """End this process, whose candidate hangs; ``folder`` is the search's, or that of a part of it."""
    path = folder.parent if part_of(read_manifest(folder)) else folder
    again = _resume_command(path, Own(), read_manifest(path)["options"])
    advice = f"nothing is lost, go on with: {again} ({then})"
    end_at_once(f"{PROG}: error: {line}; {advice}", HUNG)


def _run(options: SearchOptions, own: Own, reporter: Reporter) -> SearchResult:
    if options.run.resume is not None:
        with RunDirectory.open(options.run.resume, searching=True) as run:
            if part := part_of(run.manifest):
                raise RunError(f"{run.path} is {part} of a run: go on with --resume {run.path.parent}")
            own.check_resume(run.manifest, run.path, by_task=True)
            check_task_resume(run.manifest, own, run.path)
            options = resumed_options(options, run.manifest)
            checked = check_names(options, own)
            with open_backend(checked.placement, reporter) as make_backend:
                job = _prepared(checked, reporter, run.path, Before.of(run.manifest))
                check_identity(job, run)
                with _stoppable(run.path, own, options):
                    return _finish_run(job, run, make_backend, reporter)
    options = settled(options, own=own.task is not None or own.objectives is not None)
    checked = check_names(options, own)
    if options.run.output is not None:
        check_free(options.run.output)
    with open_backend(checked.placement, reporter) as make_backend:
        job = _prepared(checked, reporter)
        make_backend = started(make_backend, job)
        path = options.run.output or default_run_path(RUNS, job.model_name, job.material.name)
        with RunDirectory.create(path, job.manifest()) as run, _stoppable(path, own, options):
            return _finish_run(job, run, make_backend, reporter)


def _prepared(checked: Checked, reporter: Reporter, directory: Path | None = None, before: Before | None = None) -> Job:
    make = prepare if checked.own.task is None else prepare_task
    return make(checked, reporter, directory, before)


@contextmanager
def _stoppable(path: Path, own: Own, options: SearchOptions) -> Iterator[None]:
    """Let Ctrl-C or a lost cluster say how to resume the run at ``path``; a full disk is one line."""

    def advice() -> str:
        return f"nothing is lost, go on with: {_resume_command(path, own, record(options))}"

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; {advice()}") from None
    except BackendError as error:
        raise BackendError(f"{error}; {advice()}") from error
    except OutputError as error:
        raise OutputError(f"{error}; {advice()}") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        if of_a_callback(error):
            raise
        lost = output_error()
        if lost is not None:
            raise OutputError.of(lost, advice()) from error
        raise RunError(f"cannot write in {path}: {error.strerror or error}") from error
    except Exception as error:
        if not out_of_memory(error) or of_a_callback(error):
            raise
        raise RunError(f"memory is too short: {first_line(error)}; {advice()}") from error


def _finish_run(job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter) -> SearchResult:
    run.update_manifest(options=record(job.options))
    job.kept.save(run.path)
    save_ladder(job, run)
    run.note_stage(PREPARING, job.since)
    evaluated, rows = _run_searches(job, run, make_backend, reporter)
    satisfied = _satisfied(job, rows, reporter)
    picked = _picked(rows, job.options.run.pick, reporter)
    draw(job, run, list(evaluated.values()), rows, picked)
    run.update_manifest(
        evaluations=len(evaluated),
        picked=None if picked is None else picked.index,
        satisfied=satisfied,
    )
    report_of(run.path, reporter)
    return SearchResult.of_run(run, rows, picked, job.form, satisfied)


def _run_searches(
    job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter
) -> tuple[dict[str, Outcome], list[FrontRow]]:
    """Every outcome, and the saved front."""
    if job.options.evolution.algorithm == ROUNDS:
        return run_campaign(RoundsPolicy(job, run, reporter), make_backend)
    if job.options.again.iterations > 1:
        return run_campaign(IterationsPolicy(job, run, reporter), make_backend)
    began = time.perf_counter()
    found = run_search(job, run, make_backend, reporter)
    run.note_stage(SEARCHING, began)
    began = time.perf_counter()
    rows, seconds = save_front(job, run, found, reporter), job.options.space.recover
    if seconds is not None:
        recover = recover_front if job.own.task is None else recover_by_task
        rows = recover(job, run, rows, seconds, reporter)
    run.note_stage(BUILDING, began)
    return found.evaluated, rows


def _resume_command(path: Path, own: Own, saved: Mapping[str, Any]) -> str:
    """What to type to go on with a run; what a module gave is named again, for a directory is not trusted with that."""
    if own.named is None and any(own.record().values()):
        objectives = ", objectives=objectives" if own.record()["objectives"] else ""
        data = "data" if own.task is None else "task=task"
        return f'gaprune.search(model, {data}{objectives}, resume="{path}")'
    return " ".join([f"{PROG} --resume {shlex.quote(str(path))}", *named_again(saved)])


def _satisfied(job: Job, rows: list[FrontRow], reporter: Reporter) -> bool:
    """Whether the members keep to the constraints, as handed out; one line where they do not."""
    nearest = rows[0]
    costs = Costs(nearest.flops, nearest.params, round(nearest.size_mb * MEGABYTE))
    shortfalls = job.evaluator.constraints.shortfalls(costs, nearest.search_accuracy, nearest.latency_share)
    if shortfalls:
        reporter.say(f"no network was found that keeps to the constraints; the nearest has {'; '.join(shortfalls)}")
    return not shortfalls


def _picked(rows: list[FrontRow], rule: str, reporter: Reporter) -> FrontRow | None:
    try:
        index = pick([row.untrained() for row in rows], rule).index
        return next(row for row in rows if row.index == index)
    except OptionError as error:
        reporter.say(f"nothing picked: {error}")
        return None
