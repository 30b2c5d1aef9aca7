"""``python -m gaprune.search``, and ``gaprune.search`` for a caller's own network, start to end."""

from __future__ import annotations

import logging
import shlex
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from gaprune.cli import Interrupted, differences, run_command
from gaprune.data import ImageData
from gaprune.driver.loop import Found, evolve
from gaprune.driver.members import CSV, save_front
from gaprune.driver.options import SearchOptions, record, resumed_options
from gaprune.driver.setup import Job, check_names, prepare
from gaprune.errors import OptionError, RunError
from gaprune.evaluate import LocalBackend, Objective
from gaprune.progress import Reporter, make_reporter
from gaprune.runs import Baseline as Original
from gaprune.runs import (
    FrontRow,
    RunDirectory,
    check_free,
    default_run_path,
    front_table,
    pick,
    plain_table,
    plot_front,
    read_csv,
    read_manifest,
)
from gaprune.saved import load

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
    """

    path: Path
    rows: list[FrontRow]
    picked: FrontRow | None
    model: nn.Module | None = None

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
    objectives: Sequence[str | Objective] = ("accuracy", "flops"),
    reporter: Reporter | None = None,
    **options: Any,
) -> SearchResult:
    """Search the front of a trained network and save it; what the command does, for Python.

    Args:
        model: a trained network (its weights are read, never changed), or a name as in ``--model``.
        data: an ``ImageData``, a name as in ``--data``, or the path of an image folder.
        objectives: two or more names or ``Objective`` objects.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``population=30``).

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    names = tuple(item if isinstance(item, str) else item.name for item in objectives)
    given: dict[str, Any] = {"objectives": names, **_paths(options)}
    own_model = model if isinstance(model, nn.Module) else None
    if isinstance(model, str):
        given["model"] = model
    own_data = data if isinstance(data, ImageData) else None
    if isinstance(data, Path):
        given["data_dir"] = data
    elif isinstance(data, str):
        given["data"] = data
    try:
        made = SearchOptions(**given)
    except TypeError as error:
        raise OptionError(f"search: {error}") from error
    return _run(
        made,
        make_reporter() if reporter is None else reporter,
        model=own_model,
        data=own_data,
        objectives=objectives,
    )


def _paths(options: dict[str, Any]) -> dict[str, Any]:
    names = ("checkpoint", "data_dir", "output", "resume", "cache_dir")
    return {k: Path(v) if k in names and v is not None else v for k, v in options.items()}


def _command(options: SearchOptions) -> None:
    reporter = make_reporter()
    result = _run(options, reporter)
    original = Original(**read_manifest(result.path)["original"])
    if sys.stdout.isatty():
        Console().print(front_table(result.rows, baseline=original, picked=result.picked))
    else:
        reporter.say(plain_table(result.rows, baseline=original, picked=result.picked))
    reporter.say(f"run: {result.path}")
    reporter.say(f"table: {result.path / CSV}, picture: {result.path / 'front.png'}")
    if result.picked is not None:
        place = result.path / result.picked.path
        reporter.say(f'picked ({options.pick}): member {result.picked.index}, gaprune.load("{place}")')


def _run(
    options: SearchOptions,
    reporter: Reporter,
    *,
    model: nn.Module | None = None,
    data: ImageData | None = None,
    objectives: Sequence[str | Objective] | None = None,
) -> SearchResult:
    own: dict[str, Any] = {"model": model, "data": data, "objectives": objectives}
    if options.resume is not None:
        with RunDirectory.open(options.resume) as run:
            options = resumed_options(options, run.manifest)
            job = prepare(options, reporter, **own)
            _check_identity(job, run)
            return _go(job, run, reporter, model)
    check_names(options, objectives)
    if options.output is not None:
        check_free(options.output)
    job = prepare(options, reporter, **own)
    path = options.output or default_run_path(RUNS, job.model_name, job.data.name)
    with RunDirectory.create(path, job.manifest()) as run:
        return _go(job, run, reporter, model)


def _check_identity(job: Job, run: RunDirectory) -> None:
    """A run goes on only with the same weights, images and genome layout."""
    apart = differences(run.manifest.get("identity", {}), job.identity)
    if apart:
        raise RunError(f"{run.path} was made with other weights, images or device: {'; '.join(apart)}")


def _go(job: Job, run: RunDirectory, reporter: Reporter, model: nn.Module | None) -> SearchResult:
    try:
        backend = LocalBackend(job.evaluator, threads=job.threads)
        found = evolve(job, run, backend, reporter)
        rows = _front(job, run, found, reporter)
    except KeyboardInterrupt:
        path = shlex.quote(str(run.path))
        raise Interrupted(f"stopped; nothing is lost, go on with: {PROG} --resume {path}") from None
    picked = _picked(rows, job.options.pick, reporter)
    _draw(job, run, found, rows, picked)
    run.update_manifest(
        options=record(job.options),
        generations_done=found.generation,
        evaluations=len(found.evaluated),
        picked=None if picked is None else picked.index,
    )
    return SearchResult(run.path, rows, picked, model)


def _front(job: Job, run: RunDirectory, found: Found, reporter: Reporter) -> list[FrontRow]:
    """The saved front, or the one on disk when the search has not moved since."""
    table = run.path / CSV
    if table.exists() and run.manifest.get("generations_done") == found.generation:
        return read_csv(table)
    if not found.genomes:
        reasons = sorted({str(outcome.failure) for outcome in found.evaluated.values()})
        raise RunError(f"every candidate failed, see {run.path / 'evaluations.jsonl'}: {reasons[0]}")
    return save_front(job, run, found, reporter)


def _picked(rows: list[FrontRow], rule: str, reporter: Reporter) -> FrontRow | None:
    try:
        return pick(rows, rule)
    except OptionError as error:
        reporter.say(f"nothing picked: {error}")
        return None


def _draw(job: Job, run: RunDirectory, found: Found, rows: list[FrontRow], picked: FrontRow | None) -> None:
    values = [outcome.values for outcome in found.evaluated.values() if outcome.failure is None]
    points = [(v["flops"] / job.original.flops, v["accuracy"]) for v in values if "accuracy" in v]
    plot_front(
        rows,
        run.path / "front.png",
        baseline=job.original,
        picked=picked,
        evaluated=points,
        title=f"{job.model_name} on {job.data.name}: {len(found.evaluated)} candidates, no training after pruning",
    )


class _CallableModule(types.ModuleType):
    """Lets ``gaprune.search(...)`` work whether or not this module was imported by its name before."""

    def __call__(self, *args: Any, **kwargs: Any) -> SearchResult:
        """The same as ``gaprune.search.search``."""
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    raise SystemExit(main())
