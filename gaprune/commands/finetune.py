"""``python -m gaprune.finetune``: train members of a finished search on, with the original as their teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from gaprune.commands.lines import FINETUNE as PROG
from gaprune.commands.lines import check_text_libraries
from gaprune.commands.lines import finetune_main as main
from gaprune.commands.result import SearchResult, described, report_of, show_front
from gaprune.data import ImageData
from gaprune.device import card_names, in_turn, pinned
from gaprune.errors import OptionError, OutputError, RunError
from gaprune.evaluate import Objective
from gaprune.front import CSV, PICTURE, draw, finished_front, logged, reopened
from gaprune.kinds import PATH, REPORTER, check
from gaprune.options import (
    SHARED_NEEDS,
    TASK,
    FinetuneKeywords,
    FinetuneOptions,
    Interrupted,
    ScreenOptions,
    TrainingOptions,
    TrustOptions,
    from_keywords,
    names_of,
    options_record,
    output_error,
    typed_command,
)
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.recovery import (
    GENTLER,
    SharedTuner,
    TaskTuner,
    Tuner,
    distillation,
    gentle_recipe,
    more_gently,
    train_members,
    update_table,
)
from gaprune.runs import (
    FrontRow,
    RunDirectory,
    choose,
    environment,
    fact,
)
from gaprune.session import (
    NAMED,
    TEXT_NUMBERS,
    Job,
    Own,
    check_kinds,
    check_task_kind,
    check_task_training,
    check_text_training,
    named_or_given,
)
from gaprune.tasks import Task
from gaprune.training import Recipe

__all__ = ["FinetuneOptions", "command", "finetune", "main"]


def finetune(
    run: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: ImageData | None = None,
    task: Task | None = None,
    objectives: Sequence[str | Objective] | None = None,
    reporter: Reporter | None = None,
    **options: Unpack[FinetuneKeywords],
) -> SearchResult:
    """Train members of a finished search on; what the command does, for Python.

    Args:
        run: the run directory.
        model: the network, where the search was given it as an object, or as ``package.module:factory``: its name.
        data: the data, where the search was given it as an object.
        task: of a search by a task of your own: the same, with ``task.train``, which trains a member in place.
        objectives: names and objects, where the search was given some as objects.
        reporter: where progress goes; by default as the command shows it.
        **options: any other option of the command, by its name with underscores (``epochs=30``).

    Returns:
        The run with its front as it is now; ``picked`` is the chosen member where only one was.

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    network, named = named_or_given(model)
    if task is None:
        check_kinds(network, data, by_name=False)
    else:
        check_task_kind(task, network, data)
    check({"run": (run, PATH), "reporter": (reporter, REPORTER.or_none())})
    typed = from_keywords(FinetuneOptions, options, ("run", "model")) | named
    made = FinetuneOptions.of(run=Path(run), **typed, given=frozenset(typed)).settled()
    made.check()
    return _shown(made, Own(network, data, objectives, task), make_reporter() if reporter is None else reporter)


def command(options: FinetuneOptions) -> None:
    """Do what the command line says, and show the front.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    _shown(options, Own(), make_reporter())


@in_turn()
def _shown(options: FinetuneOptions, own: Own, reporter: Reporter) -> SearchResult:
    """Train, and show what the front is by now; nothing where that is asked for."""
    level = options.screen.log_level if "log_level" in options.given else None
    with heard(reporter, quiet=options.screen.quiet, log_level=level) as told:
        result = _run(options, own, told)
        show_front(result, told, every=options.screen.all)
        told.say(f"table: {result.path / CSV}, picture: {result.path / PICTURE}")
        if result.picked is not None:
            told.say(described(result, result.picked))
    return result


def _run(options: FinetuneOptions, own: Own, reporter: Reporter) -> SearchResult:
    try:
        with RunDirectory.open(options.run) as run:
            return _finetune(run, options, own, reporter)
    except KeyboardInterrupt:
        again = typed_command(PROG, options) if own == Own() else f'gaprune.finetune("{options.run}", ...) as before'
        raise Interrupted(f"stopped; whole epochs are kept, go on with: {again}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        lost = output_error()
        if lost is not None:
            raise OutputError.of(lost) from error
        raise RunError(f"cannot write in {options.run}: {error.strerror or error}") from error


def _finetune(run: RunDirectory, options: FinetuneOptions, own: Own, reporter: Reporter) -> SearchResult:
    chosen = choose(finished_front(run), options.members.pick)
    if options.members.shared and len(chosen) < 2:
        raise OptionError(SHARED_NEEDS)
    own.check_options(options.given)
    own = _of_texts(run, options, own, reporter)
    own.check_resume(run.manifest, run.path, "gaprune.finetune({path}, ...) and {objects} by name", by_task=True)
    check_task_training(run.manifest, own, run.path, options)
    job = reopened(run, own, _anew(options), reporter, options.code)
    if own.task is None:
        _on_images(job, run, options, chosen, reporter)
    else:
        train_members(_task_tuner(job, run, own.task, options, reporter), chosen)
    rows = update_table(run)
    picked = next(row for row in rows if row.index == chosen[0].index) if len(chosen) == 1 else None
    draw(job, run, logged(run), rows, picked)
    _note(job, run, options)
    report_of(run.path, reporter)
    return SearchResult.of_run(run, rows, picked, job.form, bool(run.manifest.get("satisfied", True)))


def _of_texts(run: RunDirectory, options: FinetuneOptions, own: Own, reporter: Reporter) -> Own:
    """What a search of texts was given by names, made again."""
    if own.task is not None or fact(run.manifest, TASK, NAMED, kind=dict) is None:
        return own
    check_text_libraries()
    from gaprune.commands.search_texts import reopened_texts  # which brings transformers

    check_text_training(options)
    places, machine = options.places, options.machine
    anew = {"data_dir": places.data_dir, "cache_dir": places.cache_dir, "threads": machine.threads}
    return reopened_texts(run.path, {**anew, "device": machine.device}, reporter, _numbers(options))


def _numbers(options: FinetuneOptions) -> dict[str, Any]:
    """Of a training of texts, what was asked for; everything else is as the original was trained."""
    asked = {name: getattr(options.training, name) for name in TEXT_NUMBERS if name in options.given}
    return {name: value for name, value in asked.items() if value is not None}


def _task_tuner(job: Job, run: RunDirectory, task: Task, options: FinetuneOptions, reporter: Reporter) -> TaskTuner:
    """What trains members by a task: the caller's function, or, of texts, as the original was trained."""
    numbers: dict[str, Any] = {"seed": options.training.seed}
    if job.own.named is None:
        return TaskTuner(job, run, "by task.train", reporter, task, numbers)
    numbers |= _numbers(options)
    method, gentler = "as the original was, with its logits as a second aim", None
    if "lr" not in numbers:
        training: Any = task.train
        again = dataclasses.replace(task, train=training.at(GENTLER))
        gentler = TaskTuner(job, run, method, reporter, again, {**numbers, "share of the rate": GENTLER})
    return TaskTuner(job, run, method, reporter, task, numbers, gentler, "train longer (--epochs), or at another --lr")


def _on_images(
    job: Job, run: RunDirectory, options: FinetuneOptions, chosen: Sequence[FrontRow], reporter: Reporter
) -> None:
    """Train members on the search's training images, each alone or all together."""
    lesson = distillation(job, temperature=options.training.temperature, weight=options.training.distill)
    recipe = _recipe(options, job)
    again = None if options.training.lr is not None else more_gently(recipe)
    tuner = Tuner(job, run, _method(options), reporter, recipe, lesson, gentler=again)
    if options.members.shared:
        SharedTuner(tuner, _polish(options, job))(chosen)
    else:
        _alone(tuner, chosen)


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
    unrecorded = (*names_of(ScreenOptions), *names_of(TrustOptions))
    if job.own.task is not None:  # which has its own numbers, where none were given
        unrecorded = (*unrecorded, *(name for name in names_of(TrainingOptions) if name not in options.given))
    recorded = {name: value for name, value in options_record(options).items() if name not in unrecorded}
    made_with = {"options": recorded, "device": str(job.device)}
    earlier = run.manifest.get("finetune", [])
    if any(all(one.get(name) == value for name, value in made_with.items()) for one in earlier):
        return
    run.update_manifest(finetune=[*earlier, {**made_with, "environment": environment(card_names())}])


def _anew(options: FinetuneOptions) -> dict[str, Any]:
    places = dataclasses.asdict(options.places)
    anew = {name: value for name, value in places.items() if value is not None}
    return {**anew, "device": options.machine.device, "threads": options.machine.threads, "threads_per_worker": None}


def _recipe(options: FinetuneOptions, job: Job) -> Recipe:
    asked = options.training
    recipe = dataclasses.replace(gentle_recipe(job, asked.epochs, asked.epoch_images), seed=asked.seed)
    changes: dict[str, Any] = {"batch_size": asked.batch_size, "lr": asked.lr}
    return dataclasses.replace(recipe, **{name: value for name, value in changes.items() if value is not None})


def _polish(options: FinetuneOptions, job: Job) -> Recipe | None:
    epochs = options.members.polish_epochs
    return dataclasses.replace(_recipe(options, job), epochs=epochs) if epochs else None


def _method(options: FinetuneOptions) -> str:
    members, asked = options.members, options.training
    short = "" if asked.epoch_images is None else f"in epochs of {asked.epoch_images:,} images, "
    if asked.distill == 0:
        return f"{short}on the labels alone"
    alone = f", then {members.polish_epochs} epochs alone" if members.polish_epochs else ""
    together = f"in shared weights{alone}, " if members.shared else ""
    teacher = f"distilled from the original (weight {asked.distill:g}, temperature {asked.temperature:g})"
    return f"{short}{together}{teacher}"
