"""Which options say something to a search by a task of the caller's own; the others are refused, not passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from gaprune.errors import OptionError
from gaprune.evaluate import DIVERGENCE, Objective, resolve_objectives, score_objective
from gaprune.options import (
    ROUNDS,
    SCORE,
    TASK,
    FinetuneOptions,
    LatencyOptions,
    PlaceOptions,
    ReadingOptions,
    SearchOptions,
    TrainingOptions,
    names_of,
)
from gaprune.session.material import NAMED
from gaprune.session.own import Own
from gaprune.tasks import Task

OWN_DATA = "the task brings its own data, in batches of its own"
OWN_NETWORK = "the network is given as an object"

NEVER_GIVEN = {
    **dict.fromkeys(("data", "data_dir", "test_share", "search_from", "search_size", "batch_size"), OWN_DATA),
    **dict.fromkeys(("calibration_size", "statistics_size"), "all of task.calibration is used"),
    **dict.fromkeys(names_of(ReadingOptions), "what networks are fed with comes from the task"),
    **dict.fromkeys(("model", "stem", "checkpoint", "head"), OWN_NETWORK),
    "yes": "nobody knows what chance is for it",
    "tested": "task.test is asked of every member",
    **dict.fromkeys(names_of(LatencyOptions), "latency is measured on images"),
}
"""Options that say nothing to a task, each with the reason."""

OF_CLASSES = ("accuracy", "loss", "robustness", "latency")
"""Objectives that are of the classification of images."""

COSTS = ("flops", "params", "size")


def check_task(options: SearchOptions, own: Own) -> None:
    """Refuse what a search by a task cannot do, before anything slow.

    Raises:
        OptionError: one line that names the option and what would be right.
    """
    for name, reason in NEVER_GIVEN.items():
        if name in options.given:
            raise OptionError(f"{name} has no meaning with a task of your own: {reason}")
    fitness, space = options.fitness, options.space
    impossible = {
        "algorithm='rounds'": (options.evolution.algorithm == ROUNDS, "choose auto, nsga2, cma or tuned"),
        "iterations": (options.again.iterations > 1, "search once; train a member, then search it again"),
        "polish": (space.polish, "compensation is what there is: leave polish out"),
        "racing": (fitness.racing < 1, "a score is taken whole: leave racing out"),
        "min_accuracy": (fitness.min_accuracy is not None, "look at the scores in result.rows"),
        "importance='taylor'": (space.importance == "taylor", "it needs labels: choose obs, l2 or bn"),
        "fitness='loss'": (fitness.fitness == "loss", "choose accuracy, which stands for the score, or divergence"),
        "fitness_temperature": (fitness.fitness_temperature != 1, "task.divergence knows its own"),
        f"pick={options.run.pick!r}": (
            options.run.pick.strip().startswith(OF_CLASSES),
            "choose knee, flops<=0.3 or params<=0.5",
        ),
    }
    for name, (asked, advice) in impossible.items():
        if asked:
            raise OptionError(f"{name} is not there for a task of your own yet: {advice}")
    if space.recover is not None:
        _check_recovery(own)
    wanted = {str(getattr(item, "name", item)) for item in _wanted(options, own)}
    if DIVERGENCE.name in wanted and own.task is not None and own.task.divergence is None:
        raise OptionError("divergence needs task.divergence, a function of a network: give one, or judge by the score")


def _check_recovery(own: Own) -> None:
    """Refuse to train members of a search whose task knows no training."""
    if own.task is None or own.named is not None:
        raise OptionError("recover is not there for a search of texts yet: search first, then gaprune finetune RUN")
    if own.task.train is None:
        raise OptionError("recover needs task.train, a function that trains a network in place: give one")


def task_objectives(options: SearchOptions, own: Own) -> tuple[Objective, ...]:
    """The objectives of a search by a task, whose score is not scaled yet.

    Raises:
        OptionError: one of them is of the classification of images, unknown or given twice, or there are too few.
    """
    wanted = _wanted(options, own)
    for item in wanted:
        if item in OF_CLASSES:
            valid = ", ".join((SCORE, DIVERGENCE.name, *COSTS))
            raise OptionError(f"objective {item!r} is not there for a task of your own: choose of {valid}")
    plain = score_objective(1.0, 0.0)
    return resolve_objectives([plain if item == SCORE else item for item in wanted])


def _wanted(options: SearchOptions, own: Own) -> Sequence[str | Objective]:
    """Names and objects; by default what stands for accuracy is the score, or the divergence."""
    if own.objectives is not None:
        return own.objectives
    named = options.fitness.objectives
    if "objectives" in options.given:
        return named
    fitness = options.fitness.fitness
    judged = SCORE if fitness in ("accuracy", "auto") else fitness
    return [judged if name == "accuracy" else name for name in named]


def check_task_kind(task: object, model: object, data: object) -> None:
    """Refuse arguments of another kind beside a task.

    Args:
        task: what was given for it.
        model: what was given for the network.
        data: what was given for the data.

    Raises:
        OptionError: one line that says what was given and what would be right.
    """
    if not isinstance(task, Task):
        got = f"the class {task.__name__}" if isinstance(task, type) else f"a {type(task).__name__}"
        raise OptionError(f"task must be a gaprune.Task(inputs, calibration, score), got {got}")
    if data is not None:
        raise OptionError("data has no meaning with a task of your own, which brings its data: leave it out")
    if not isinstance(model, nn.Module):
        advice = "build and train it first" if isinstance(model, str | Path) else "give the trained torch.nn.Module"
        raise OptionError(f"model must be a network, a torch.nn.Module, with a task of your own: {advice}")


def check_task_training(manifest: Mapping[str, Any], own: Own, path: Path, options: FinetuneOptions) -> None:
    """Refuse to train members of a search by a task in a way that the task does not know.

    Args:
        manifest: of the run.
        own: what was given as objects.
        path: of the run.
        options: what was asked for.

    Raises:
        OptionError: one line.
    """
    _check_same_task(manifest, own, path)
    if own.task is None or own.named is not None:
        return
    if own.task.train is None:
        raise OptionError("finetune needs task.train, a function that trains a network in place: give one")
    for name in (*names_of(TrainingOptions), "shared", "polish_epochs", *names_of(PlaceOptions)):
        if name in options.given and name != "seed":
            raise OptionError(f"{name} has no meaning with a task of your own: task.train knows how it trains")


TEXT_NUMBERS = ("epochs", "batch_size", "lr", "seed")
"""Options of fine-tuning that say something to texts."""


def check_text_training(options: FinetuneOptions) -> None:
    """Refuse what says nothing to members of a search of texts.

    Raises:
        OptionError: one line that names the option.
    """
    for name in (*names_of(TrainingOptions), "shared", "polish_epochs", "checkpoint"):
        if name in options.given and name not in TEXT_NUMBERS:
            raise OptionError(f"{name.replace('_', '-')} is for images: members of a search of texts know it not")


def check_task_export(manifest: Mapping[str, Any], own: Own, path: Path) -> None:
    """Refuse to export members of a search by a task without it, or others with one.

    Raises:
        OptionError: one line.
    """
    _check_same_task(manifest, own, path)


def _check_same_task(manifest: Mapping[str, Any], own: Own, path: Path) -> None:
    told = manifest.get(TASK)
    if told is None and own.task is not None:
        raise OptionError(f"{path} was searched on data, not by a task: leave task out")
    if told is not None and told.get(NAMED) and own.named is None:
        raise OptionError(f"{path} was searched by names, not by a task of your own: leave task out")


def check_task_resume(manifest: dict[str, Any], own: Own, path: Path) -> None:
    """Refuse to go on by a task with a run of images, or of a task that names stand for.

    Raises:
        OptionError: one line.
    """
    told = manifest.get(TASK)
    if own.task is not None and told is None:
        advice = f'gaprune.search(model, data, resume="{path}")'
        raise OptionError(f"{path} was searched on data, not by a task: go on with {advice}")
    if own.named is None and told is not None and told.get(NAMED):
        advice = f"python -m gaprune.search --resume {path}"
        raise OptionError(f"{path} was searched by names, not by a task of your own: go on with {advice}")
