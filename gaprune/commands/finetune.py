"""``python -m gaprune.finetune``: train members of a finished search on, with the original as their teacher."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from gaprune.cli import GIVEN, Interrupted, argument, option, options_record, run_command, typed_command
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.device import DEVICES, card_names, neutral, pinned
from gaprune.errors import OptionError, RunError, choice_error
from gaprune.evaluate import Objective
from gaprune.front.members import CSV
from gaprune.front.picture import PICTURE, draw, logged
from gaprune.front.reopen import finished_front, reopened
from gaprune.progress import Reporter, make_reporter
from gaprune.recovery.members import Tuner, tabled
from gaprune.recovery.recover import distillation, gentle_recipe
from gaprune.recovery.shared import SHARED_NEEDS, Together
from gaprune.runs import (
    FrontRow,
    RunDirectory,
    check_choice,
    choose,
    environment,
    front_table,
    plain_table,
    read_manifest,
)
from gaprune.runs.picking import ALL
from gaprune.session.job import Job
from gaprune.session.options import LARGEST_SEED
from gaprune.session.own import Own
from gaprune.training import Recipe
from gaprune.training.lesson import HOTTEST

PROG = "python -m gaprune.finetune"


@dataclass(frozen=True)
class FinetuneOptions:
    """Train members of a finished search on, with the original as their teacher.

    Stopped, it goes on when the command is given again. A member hands its trained weights out, in
    front/NN/finetuned, if they are better on the search images.
    """

    run: Path = argument("the run directory of a finished search", metavar="RUN")
    pick: str = option(
        "knee", "members: all, indices and rules, such as 3,7,flops<=0.3; with --shared all by default", metavar="LIST"
    )
    epochs: int = option(10, "passes over the training images, for each member")
    epoch_images: int | None = option(None, "images of an epoch, drawn anew for each; none is all training images")
    distill: float = option(0.9, "weight of the original's softened answers, 0 (labels alone) to 1 (no labels)")
    temperature: float = option(4.0, f"that softens the answers, above 0, at most {HOTTEST:g}")
    shared: bool = option(False, "train members together on one set of weights, four a step, then cut them out")
    polish_epochs: int = option(0, "with --shared: passes over the training images for each member alone, afterwards")
    batch_size: int | None = option(None, "images in a step; none suits the data")
    lr: float | None = option(None, "peak learning rate; none suits the data")
    seed: int = option(0, "decides order and augmentation")
    device: str = option("auto", "where to train", choices=DEVICES)
    threads: int | None = option(None, "CPU threads; none is torch's own number")
    checkpoint: Path | None = option(None, "where the original's weights lie by now", metavar="FILE")
    data_dir: Path | None = option(None, "where the search's images lie by now", metavar="DIR")
    cache_dir: Path | None = option(None, "where data and baselines lie by now", metavar="DIR")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_choice(self.pick)
        for name, least in (
            ("epochs", 1),
            ("batch_size", 2),
            ("seed", 0),
            ("threads", 1),
            ("polish_epochs", 0),
            ("epoch_images", 2),
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise OptionError(f"{name.replace('_', '-')} must be a whole number of at least {least}, got {value!r}")
        if self.seed > LARGEST_SEED:
            raise OptionError(f"seed must be at most {LARGEST_SEED}, got {self.seed}")
        if self.lr is not None and not (isinstance(self.lr, (int, float)) and 0 < self.lr < math.inf):
            raise OptionError(f"lr must be a number above 0, got {self.lr!r}")
        if not isinstance(self.temperature, (int, float)) or not 0 < self.temperature <= HOTTEST:
            raise OptionError(f"temperature must be above 0 and at most {HOTTEST:g}, got {self.temperature!r}")
        if not self.shared and self.polish_epochs:
            raise OptionError("polish-epochs is for members that were trained together: add --shared")
        if not isinstance(self.distill, (int, float)) or not 0 <= self.distill <= 1:
            raise OptionError(f"distill must be 0 to 1, got {self.distill!r}")
        if self.shared and self.distill == 0:
            raise OptionError(SHARED_NEEDS)


def settled_options(options: FinetuneOptions) -> FinetuneOptions:
    """The options with the default that depends on another: members that share weights are all, unless named."""
    return dataclasses.replace(options, pick=ALL) if options.shared and "pick" not in options.given else options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(_command, FinetuneOptions, PROG, argv)


def finetune(
    run: str | Path,
    *,
    model: nn.Module | None = None,
    data: ImageData | None = None,
    objectives: Sequence[str | Objective] | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> SearchResult:
    """Train members of a finished search on; what the command does, for Python.

    Args:
        run: the run directory.
        model: the network, where the search was given it as an object.
        data: the data, where the search was given it as an object.
        objectives: names and objects, where the search was given some as objects.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``epochs=30``).

    Returns:
        The run with its front as it is now; ``picked`` is the chosen member where only one was.

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    valid = tuple(field.name for field in fields(FinetuneOptions) if field.name not in (GIVEN, "run"))
    for name in options:
        if name not in valid:
            raise choice_error("option", name, difflib.get_close_matches(name, valid, n=3) or valid)
    places = ("checkpoint", "data_dir", "cache_dir")
    typed: dict[str, Any] = {k: Path(v) if k in places and v is not None else v for k, v in options.items()}
    made = FinetuneOptions(run=Path(run), **typed, given=frozenset(typed))
    return _run(made, Own(model, data, objectives), make_reporter() if reporter is None else reporter)


def _command(options: FinetuneOptions) -> None:
    reporter = make_reporter()
    result = _run(options, Own(), reporter)
    _show(result, read_manifest(result.path)["original"], reporter)


def _show(result: SearchResult, original: dict[str, Any], reporter: Reporter) -> None:
    from gaprune.runs import Baseline as Original

    baseline = Original(**original)
    if sys.stdout.isatty():
        Console().print(front_table(result.rows, baseline=baseline, picked=result.picked))
    else:
        reporter.say(plain_table(result.rows, baseline=baseline, picked=result.picked))
    reporter.say(f"table: {result.path / CSV}, picture: {result.path / PICTURE}")
    if result.picked is not None:
        place = result.path / result.picked.path
        reporter.say(f'member {result.picked.index}: gaprune.load("{place}")')


@neutral()
def _run(options: FinetuneOptions, own: Own, reporter: Reporter) -> SearchResult:
    options = settled_options(options)
    options.check()
    try:
        with RunDirectory.open(options.run) as run:
            return _finetune(run, options, own, reporter)
    except KeyboardInterrupt:
        again = typed_command(PROG, options) if own == Own() else f'gaprune.finetune("{options.run}", ...) as before'
        raise Interrupted(f"stopped; whole epochs are kept, go on with: {again}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write in {options.run}: {error.strerror or error}") from error


def _finetune(run: RunDirectory, options: FinetuneOptions, own: Own, reporter: Reporter) -> SearchResult:
    chosen = choose(finished_front(run), options.pick)
    if options.shared and len(chosen) < 2:
        raise OptionError(SHARED_NEEDS)
    own.check_options(options.given)
    own.check_resume(run.manifest, run.path, "gaprune.finetune({path}, ...) and {objects} by name")
    job = reopened(run, own, _anew(options), reporter)
    lesson = distillation(job, temperature=options.temperature, weight=options.distill)
    tuner = Tuner(job, run, _recipe(options, job), lesson, _method(options), reporter)
    if options.shared:
        Together(tuner, _polish(options, job))(chosen)
    else:
        _alone(tuner, chosen)
    rows = tabled(run)
    picked = next(row for row in rows if row.index == chosen[0].index) if len(chosen) == 1 else None
    draw(job, run, logged(run), rows, picked)
    _note(job, run, options)
    return SearchResult(run.path, rows, picked, own.model, bool(run.manifest.get("satisfied", True)))


def _alone(tuner: Tuner, rows: Sequence[FrontRow]) -> None:
    """Train members one after the other."""
    with pinned(tuner.job.threads):
        pending = tuner.pending(rows)
        if pending:
            tuner.announce(pending)
    with tuner.reporter.task("members", len(rows)) as task:
        for row in rows:
            tuner(row)
            task.advance(1)


def _note(job: Job, run: RunDirectory, options: FinetuneOptions) -> None:
    """Write in the manifest how members were trained, unless it stands there."""
    made_with = {"options": options_record(options), "device": str(job.splits.search.images.device)}
    earlier = run.manifest.get("finetune", [])
    if any(all(one.get(name) == value for name, value in made_with.items()) for one in earlier):
        return
    run.update_manifest(finetune=[*earlier, {**made_with, "environment": environment(card_names())}])


def _anew(options: FinetuneOptions) -> dict[str, Any]:
    places = {name: getattr(options, name) for name in ("checkpoint", "data_dir", "cache_dir")}
    anew = {name: value for name, value in places.items() if value is not None}
    return {**anew, "device": options.device, "threads": options.threads, "threads_per_worker": None}


def _recipe(options: FinetuneOptions, job: Job) -> Recipe:
    recipe = dataclasses.replace(gentle_recipe(job, options.epochs, options.epoch_images), seed=options.seed)
    changes = {name: getattr(options, name) for name in ("batch_size", "lr")}
    return dataclasses.replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _polish(options: FinetuneOptions, job: Job) -> Recipe | None:
    return dataclasses.replace(_recipe(options, job), epochs=options.polish_epochs) if options.polish_epochs else None


def _method(options: FinetuneOptions) -> str:
    short = "" if options.epoch_images is None else f"in epochs of {options.epoch_images:,} images, "
    if options.distill == 0:
        return f"{short}on the labels alone"
    alone = f", then {options.polish_epochs} epochs alone" if options.polish_epochs else ""
    together = f"in shared weights{alone}, " if options.shared else ""
    teacher = f"distilled from the original (weight {options.distill:g}, temperature {options.temperature:g})"
    return f"{short}{together}{teacher}"
