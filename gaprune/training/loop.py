"""Training a network from its first epoch, or from the one that an earlier process reached."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from gaprune.data import ImageSet, epoch_of
from gaprune.errors import TrainingError
from gaprune.progress import SILENT, Reporter, Task
from gaprune.training.checkpoint import describe, restore, save
from gaprune.training.lesson import LABELS, Lesson
from gaprune.training.recipe import SHORT, Recipe
from gaprune.training.state import Course, EpochRecord, TrainingState, reproducible, start, train_step
from gaprune.training.statistics import following, settle

LOSS_CHECK_STEPS = 32
SAVE_SECONDS = {"cuda": 20.0}
"""Least time between two saved epochs, by type of device: a GPU's epoch may be over before its state is saved."""

SETTLING = 1_024
"""Training images that batch norms are measured on in the end of a short training."""

SEED_STRIDE = 1_000_003
"""Between the seeds of two trainings, and of two searches of a run, so that no two share one."""


def fit(
    model: nn.Module,
    train: ImageSet,
    validate: ImageSet,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    flip: bool,
    recipe: Recipe,
    lesson: Lesson = LABELS,
    directory: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[EpochRecord]:
    """Train ``model`` in place; it ends in eval mode with the averaged weights and batch norm statistics.

    Batch norms of small momentum follow faster meanwhile, and those of a short training are measured anew in the end,
    see ``gaprune.training.statistics``.
    With a directory, every epoch is saved there (on a GPU one in ``SAVE_SECONDS``), and a training that was
    stopped goes on from its last saved epoch. It ends bit for bit (same machine, same number of threads) like one
    that was never stopped: each epoch draws from its own seed, so there is no generator to carry over. A finished
    directory only loads.

    Args:
        model: float32, on the images' device.
        train: the images to learn from.
        validate: the images for each epoch's accuracy; nothing is chosen by them.
        mean: per channel mean of the 0..255 pixels.
        std: per channel standard deviation of the same.
        flip: whether training images may be mirrored.
        recipe: the numbers of the training.
        lesson: what is learnt from the images: their labels, or a teacher's logits as well.
        directory: where to save, this process's own; created when missing. None saves nothing.
        reporter: told each epoch's accuracy, and the time left.

    Returns:
        One record an epoch, those of an earlier process included.

    Raises:
        TrainingError: the loss is no longer a number, or there are no images.
        RunError: the directory holds another training, or cannot be written.
    """
    if len(train) == 0 or len(validate) == 0:
        raise TrainingError(f"training needs images: got {len(train)} to learn from, {len(validate)} to validate")
    course = Course(train, validate, mean, std, flip, recipe, lesson)
    state = start(model, recipe)
    description = describe(course) if directory else {}
    finished = restore(directory, state, description, reporter) if directory else False
    if not finished:
        _run(state, course, description, directory, reporter)
    model.load_state_dict(state.averaged.state_dict())
    model.to(memory_format=torch.contiguous_format).eval()
    return state.records


def _run(
    state: TrainingState,
    course: Course,
    description: dict[str, object],
    directory: Path | None,
    reporter: Reporter,
) -> None:
    recipe = course.recipe
    least_apart = SAVE_SECONDS.get(course.train.images.device.type, 0.0)
    saved = -math.inf
    with following(state.model), reporter.task("training", course.total_steps) as task:
        task.advance(state.step)
        for epoch in range(len(state.records) + 1, recipe.epochs + 1):
            record = _epoch(epoch, state, course, task)
            state.records.append(record)
            finished = epoch == recipe.epochs
            if directory and (finished or time.monotonic() - saved >= least_apart):
                save(directory, state, description, finished=finished)
                saved = time.monotonic()
            task.advance(0, epoch=f"{epoch}/{recipe.epochs}", accuracy=f"{record.accuracy:.4f}")
            reporter.say(
                f"epoch {epoch}/{recipe.epochs}: loss {record.loss:.3f}, accuracy {record.accuracy:.4f} "
                f"on {len(course.validate)} held-out images, {record.seconds:.1f} s"
            )


def _epoch(epoch: int, state: TrainingState, course: Course, task: Task) -> EpochRecord:
    began = time.monotonic()
    device = course.train.images.device
    state.model.train()
    total = torch.zeros((), device=device)
    seed = course.recipe.seed * SEED_STRIDE + epoch
    with reproducible(seed, device) as generator:
        order = torch.randperm(len(course.train), generator=generator, device=device)[: course.images_per_epoch]
        chunks = order.tensor_split(course.steps_per_epoch)
        again = chunks[: _settling(course, chunks)] if epoch == course.recipe.epochs else ()
        with epoch_of(course.train, [*chunks, *again], seed) as train:
            current = course if train is course.train else replace(course, train=train)
            for number, indices in enumerate(chunks, start=1):
                total += train_step(state, current, indices, generator) * len(indices)
                if number % LOSS_CHECK_STEPS == 0:
                    _check_finite(float(total), epoch, course.recipe)
                task.advance()
            settle(state.averaged, map(current.plain, again))
        _check_finite(float(total), epoch, course.recipe)
        result = course.check(state.averaged)
    _check_finite(result.loss, epoch, course.recipe)
    return EpochRecord(epoch, float(total) / course.images_per_epoch, result.accuracy, time.monotonic() - began)


def _settling(course: Course, chunks: Sequence[Tensor]) -> int:
    """How many batches norms are measured on in the end."""
    return math.ceil(SETTLING / len(chunks[0])) if course.total_steps < SHORT else 0


def _check_finite(loss: float, epoch: int, recipe: Recipe) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"training diverged in epoch {epoch} (loss {loss}): choose a learning rate below {recipe.lr:g}"
        )
