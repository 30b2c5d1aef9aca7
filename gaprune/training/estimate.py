"""How long a training will take here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from gaprune.data import ImageSet
from gaprune.training.lesson import LABELS, Lesson
from gaprune.training.recipe import Recipe, images_per_epoch, steps_per_epoch
from gaprune.training.state import Course, reproducible, start, train_step

TIMED_STEPS = 3


def estimate_seconds(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    recipe: Recipe,
    images: int,
    *,
    validation_images: int = 0,
    lesson: Lesson = LABELS,
) -> float:
    """Seconds that training ``model`` takes on this machine, from a few real steps on a copy.

    Args:
        model: the network, on the device that it will be trained on; left as it is.
        image_shape: (C, H, W) of an image.
        recipe: the numbers of the training.
        images: number of training images, of which an epoch goes through those that the recipe asks for.
        validation_images: number of images that each epoch ends with.
        lesson: what is learnt from the images.
    """
    device = next(model.parameters()).device
    steps, images = steps_per_epoch(recipe, images), images_per_epoch(recipe, images)
    sample = min(images, recipe.batch_size)
    with reproducible(recipe.seed, device) as generator:
        pixels = torch.randint(0, 256, (sample, *image_shape), dtype=torch.uint8, device=device)
        batch = ImageSet(pixels, torch.zeros(sample, dtype=torch.int64, device=device))
        blank = (0.0,) * image_shape[0]
        course = Course(batch, batch, blank, (255.0,) * image_shape[0], False, recipe, lesson)
        state = start(copy.deepcopy(model).train(), recipe)
        indices = torch.arange(sample, device=device)
        seconds = _seconds_each(lambda: train_step(state, course, indices, generator), device)
        check = _seconds_each(lambda: course.check(state.averaged), device)
    share_of_batch = images / steps / sample
    return recipe.epochs * (steps * share_of_batch * seconds + validation_images / sample * check)


def _seconds_each(work: Callable[[], object], device: torch.device) -> float:
    work()
    _wait(device)
    began = time.perf_counter()
    for _ in range(TIMED_STEPS):
        work()
    _wait(device)
    return (time.perf_counter() - began) / TIMED_STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
