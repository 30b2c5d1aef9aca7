"""What a training is made of, and one step of it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gaprune.data import ImageSet, augment, normaliser
from gaprune.evaluate import Measurement, measure
from gaprune.prune import first_names
from gaprune.training.lesson import LABELS, Batch, Lesson
from gaprune.training.pointwise import PixelsFirst
from gaprune.training.recipe import Recipe, ema_decay, images_per_epoch, learning_rate, steps_per_epoch


@dataclass(frozen=True)
class Course:
    """What is taught, and how: everything that stays the same from the first step to the last.

    Attributes:
        train: the images to learn from, on the network's device.
        validate: the images that each epoch's accuracy is measured on, on the same device.
        mean: per channel mean of the 0..255 pixels.
        std: per channel standard deviation of the same.
        flip: whether training images are mirrored at random.
        recipe: the numbers of the training.
        lesson: what is learnt from the images.
    """

    train: ImageSet
    validate: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    recipe: Recipe
    lesson: Lesson = LABELS

    @property
    def images_per_epoch(self) -> int:
        """Number of images that each epoch goes through."""
        return images_per_epoch(self.recipe, len(self.train))

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in each epoch."""
        return steps_per_epoch(self.recipe, len(self.train))

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole training."""
        return self.steps_per_epoch * self.recipe.epochs

    @cached_property
    def normalised(self) -> Callable[[Tensor], Tensor]:
        """Pixels to input; made once, because a constant that goes to a GPU makes the host wait."""
        return normaliser(self.mean, self.std, self.train.images.device)

    @cached_property
    def fill(self) -> Tensor:
        """(C,) uint8: the mean pixel."""
        return torch.tensor(self.mean).round().to(self.train.images.device, torch.uint8)

    def plain(self, indices: Tensor) -> Tensor:
        """The training images at ``indices`` ((n,) int64) as a network is fed with them that does not learn."""
        return self.normalised(self.train.batch(indices)[0]).contiguous(memory_format=torch.channels_last)

    def check(self, averaged: nn.Module) -> Measurement:
        """How good averaged weights are on the held-out images."""
        return self.lesson.check(averaged, lambda model: measure(model, self.validate, self.mean, self.std))


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, as it went.

    Attributes:
        epoch: its number, from 1.
        loss: mean training loss as the lesson has it; of labels alone in nats, smoothing included.
        accuracy: top-1 of the averaged weights on the validation images, 0 to 1.
        seconds: how long it took, validation included.
    """

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass
class TrainingState:
    """What changes from step to step.

    Attributes:
        model: the network that learns.
        averaged: its double, whose weights and batch norm statistics are the moving average.
        optimizer: SGD, whose momentum buffers belong to the state.
        step: number of steps taken.
        records: the epochs that are over.
    """

    model: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.SGD
    step: int = 0
    records: list[EpochRecord] = field(default_factory=list)

    @cached_property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Every tensor of the averaged network, once, with the learning network's; counters come first."""
        first = {name for name, earlier in first_names(self.averaged).items() if name == earlier}
        current = self.model.state_dict()
        found = [(tensor, current[name]) for name, tensor in self.averaged.state_dict().items() if name in first]
        return sorted(found, key=lambda pair: pair[0].is_floating_point())


def start(model: nn.Module, recipe: Recipe) -> TrainingState:
    """The state before the first step. ``model`` is trained in place, in channels-last memory format."""
    model.to(memory_format=torch.channels_last)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]], lr=recipe.lr, momentum=recipe.momentum, nesterov=True
    )
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    return TrainingState(model, averaged, optimizer)


def train_step(state: TrainingState, course: Course, indices: Tensor, generator: torch.Generator) -> Tensor:
    """Learn from the training images at ``indices`` ((n,) int64); gives their mean loss, on the device."""
    recipe = course.recipe
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, state.step, course.total_steps)
    images, labels = course.train.batch(indices)
    pixels = augment(
        images,
        generator=generator,
        pad=recipe.pad,
        flip=course.flip,
        cutout=recipe.cutout,
        fill=course.fill,
    )
    inputs = course.normalised(pixels).contiguous(memory_format=torch.channels_last)
    with PixelsFirst() if inputs.device.type == "cpu" else nullcontext():  # no other device has the fault
        taught = Batch(inputs, labels, recipe.label_smoothing, recipe.amp, generator)
        loss = course.lesson.loss(state.model, taught)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    _average(state, ema_decay(recipe, state.step))
    state.step += 1
    return loss.detach()


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[torch.Generator]:
    """A generator for shuffling and augmentation; the global one, for dropout, is seeded and then put back.

    Convolutions on CUDA are held to deterministic algorithms meanwhile.
    """
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        torch.manual_seed(seed)
        yield torch.Generator(device).manual_seed(seed)


def _average(state: TrainingState, decay: float) -> None:
    for floating, pairs in itertools.groupby(state.pairs, lambda pair: pair[0].is_floating_point()):
        old, new = map(list, zip(*pairs, strict=True))
        if floating:
            get_ema_multi_avg_fn(decay)(old, new, None)  # type: ignore[no-untyped-call]
        else:
            torch._foreach_copy_(old, new)
