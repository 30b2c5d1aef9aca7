"""``python -m gaprune.search``, and ``gaprune.search`` for a caller's own network, start to end."""

from __future__ import annotations

import difflib
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from gaprune.campaigns.iterations import run_iterations
from gaprune.campaigns.rounds import run_rounds
from gaprune.cli import GIVEN, Interrupted, run_command, typed_command
from gaprune.data import ImageData, data_names
from gaprune.device import neutral
from gaprune.errors import BackendError, OptionError, RunError, choice_error
from gaprune.evaluate import Objective, Outcome
from gaprune.front.members import CSV, drop_partial, save_front
from gaprune.front.picture import draw
from gaprune.front.reopen import check_identity, part_of
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.costs import Costs
from gaprune.runs import Baseline as Original
from gaprune.runs import (
    FrontRow,
    RunDirectory,
    check_free,
    default_run_path,
    front_table,
    pick,
    plain_table,
    read_csv,
    read_manifest,
)
from gaprune.saved import load
from gaprune.session.backends import MakeBackend, open_backend, started
from gaprune.session.engine import MEGABYTE
from gaprune.session.job import Job, check_names, prepare
from gaprune.session.loop import Found, check_found, evolve
from gaprune.session.options import ROUNDS, SearchOptions, record, resumed_options, settled
from gaprune.session.own import Own

PROG = "python -m gaprune.search"
RUNS = Path("runs")


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        path: the run directory.
        rows: the front, fewest FLOPs first: accuracies, FLOPs, parameters, place on disk.
        picked: the row that ``pick`` marks; ``None`` when no row satisfies it.
        model: the network that was given as an object, if it was.
        satisfied: whether the rows keep to the constraints; if not, they are what comes nearest.
    """

    path: Path
    rows: list[FrontRow]
    picked: FrontRow | None
    model: nn.Module | None = None
    satisfied: bool = True

    def load(self, row: FrontRow | int | None = None) -> nn.Module:
        """The compact network of a row (or its index); of the picked one by default."""
        chosen = self.picked if row is None else self.rows[row] if isinstance(row, int) else row
        if chosen is None:
            raise OptionError("no member satisfies the pick: name one by its index")
        return load(self.path / chosen.path, model=self.model)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(_command, SearchOptions, PROG, argv)


def search(
    model: nn.Module | str,
    data: ImageData | str | Path,
    *,
    objectives: Sequence[str | Objective] | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> SearchResult:
    """Search the front of a trained network and save it; what the command does, for Python.

    Args:
        model: a trained network (its weights are read, never changed), or a name as in ``--model``.
        data: an ``ImageData``, a name as in ``--data``, or the path of an image folder.
        objectives: two or more names or ``Objective`` objects; accuracy and flops by default.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``population=30``).

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    own = Own(
        model=None if isinstance(model, str) else model,
        data=data if isinstance(data, ImageData) else None,
        objectives=objectives,
    )
    if isinstance(objectives, str):
        raise OptionError(f"objectives must be a list of names, got the text {objectives!r}")
    given = {**_paths(options), **_named(model, data, objectives)}
    if isinstance(given.get("round_share"), (int, float)):
        given["round_share"] = (float(given["round_share"]),)
    valid = tuple(field.name for field in fields(SearchOptions) if field.name != GIVEN)
    for name in given:
        if name not in valid:
            raise choice_error("option", name, difflib.get_close_matches(name, valid, n=3) or valid)
    made = SearchOptions(**given, given=frozenset(given))
    return _run(made, own, make_reporter() if reporter is None else reporter)


def _named(model: object, data: object, objectives: Sequence[str | Objective] | None) -> dict[str, Any]:
    """The options that arguments stand for which are no objects."""
    found: dict[str, Any] = {}
    if isinstance(model, str):
        found["model"] = model
    if isinstance(data, Path) or (isinstance(data, str) and data not in data_names() and Path(data).is_dir()):
        found["data_dir"] = Path(data)
    elif isinstance(data, str):
        found["data"] = data
    if objectives is not None:
        found["objectives"] = tuple(item.name if isinstance(item, Objective) else str(item) for item in objectives)
    return found


def _paths(options: dict[str, Any]) -> dict[str, Any]:
    names = ("checkpoint", "data_dir", "output", "resume", "cache_dir")
    return {k: Path(v) if k in names and v is not None else v for k, v in options.items()}


def _command(options: SearchOptions) -> None:
    reporter = make_reporter()
    try:
        result = _run(options, Own(), reporter)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        where = "before the search began; a baseline in training keeps its epochs"
        raise Interrupted(f"stopped {where}; go on with: {typed_command(PROG, options)}") from None
    with _stoppable(result.path, Own()):
        _show(result, reporter)


def _show(result: SearchResult, reporter: Reporter) -> None:
    manifest = read_manifest(result.path)
    original, rule = Original(**manifest["original"]), manifest["options"]["pick"]
    if sys.stdout.isatty():
        Console().print(front_table(result.rows, baseline=original, picked=result.picked))
    else:
        reporter.say(plain_table(result.rows, baseline=original, picked=result.picked))
    reporter.say(f"run: {result.path}")
    reporter.say(f"table: {result.path / CSV}, picture: {result.path / 'front.png'}")
    if result.picked is not None:
        place = result.path / result.picked.path
        reporter.say(f'picked ({rule}): member {result.picked.index}, gaprune.load("{place}")')


@neutral()
def _run(options: SearchOptions, own: Own, reporter: Reporter) -> SearchResult:
    if options.resume is not None:
        with RunDirectory.open(options.resume) as run:
            if part := part_of(run.manifest):
                raise RunError(f"{run.path} is {part} of a run: go on with --resume {run.path.parent}")
            own.check_resume(run.manifest, run.path)
            options = resumed_options(options, run.manifest)
            with open_backend(options, reporter) as make_backend:
                wanted = run.manifest["identity"]["weights_sha256"]
                held_out = run.manifest.get("data", {}).get("splits", {}).get("search_from")
                job = prepare(options, own, reporter, run.path, wanted, held_out)
                check_identity(job, run)
                with _stoppable(run.path, own):
                    return _go(job, run, make_backend, reporter)
    options = settled(options)
    check_names(options, own)
    if options.output is not None:
        check_free(options.output)
    with open_backend(options, reporter) as make_backend:
        job = prepare(options, own, reporter)
        make_backend = started(make_backend, job)
        path = options.output or default_run_path(RUNS, job.model_name, job.data.name)
        with RunDirectory.create(path, job.manifest()) as run, _stoppable(path, own):
            return _go(job, run, make_backend, reporter)


@contextmanager
def _stoppable(path: Path, own: Own) -> Iterator[None]:
    """Meanwhile Ctrl-C or a lost cluster says how to go on with the run at ``path``; a full disk is one line."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; nothing is lost, go on with: {_resume_command(path, own)}") from None
    except BackendError as error:
        advice = f"nothing is lost, go on with: {_resume_command(path, own)}"
        raise BackendError(f"{error}; {advice}") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write in {path}: {error.strerror or error}") from error


def _go(job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter) -> SearchResult:
    run.update_manifest(options=record(job.options))
    job.kept.save(run.path)
    evaluated, rows = _found(job, run, make_backend, reporter)
    satisfied = _satisfied(job, rows, reporter)
    picked = _picked(rows, job.options.pick, reporter)
    draw(job, run, list(evaluated.values()), rows, picked)
    run.update_manifest(
        evaluations=len(evaluated),
        picked=None if picked is None else picked.index,
        satisfied=satisfied,
    )
    return SearchResult(run.path, rows, picked, job.own.model, satisfied)


def _found(
    job: Job, run: RunDirectory, make_backend: MakeBackend, reporter: Reporter
) -> tuple[dict[str, Outcome], list[FrontRow]]:
    """Every outcome, and the saved front."""
    if job.options.algorithm == ROUNDS:
        rounds = run_rounds(job, run, make_backend, reporter)
        return rounds.evaluated, rounds.rows
    if job.options.iterations > 1:
        iterations = run_iterations(job, run, make_backend, reporter)
        return iterations.evaluated, iterations.rows
    backend = make_backend(job)
    try:
        found = evolve(job, run, backend, reporter)
    finally:
        backend.close()
    return found.evaluated, _front(job, run, found, reporter)


def _resume_command(path: Path, own: Own) -> str:
    """What to type to go on with a run."""
    if any(own.record().values()):
        objectives = ", objectives=objectives" if own.record()["objectives"] else ""
        return f'gaprune.search(model, data{objectives}, resume="{path}")'
    return f"{PROG} --resume {shlex.quote(str(path))}"


def _front(job: Job, run: RunDirectory, found: Found, reporter: Reporter) -> list[FrontRow]:
    """The saved front, or the one on disk when the search has not moved since."""
    drop_partial(run)
    polish = job.options.polish
    table = run.path / CSV
    same = run.manifest.get("generations_done") == found.generation and run.manifest.get("polished") == polish
    if table.exists() and same:
        return read_csv(table)
    check_found(found, run)
    return save_front(job, run, found, reporter)


def _satisfied(job: Job, rows: list[FrontRow], reporter: Reporter) -> bool:
    """Whether the members keep to the constraints, as handed out; one line where they do not."""
    nearest = rows[0]
    costs = Costs(nearest.flops, nearest.params, round(nearest.size_mb * MEGABYTE))
    shortfalls = job.evaluator.constraints.shortfalls(costs, nearest.search_accuracy)
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
