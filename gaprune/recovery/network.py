"""Training after pruning, whoever asks for it: what is masked stays masked, what is found is measured."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from gaprune.device import pinned
from gaprune.evaluate import Measured, Scored
from gaprune.genome import Bits
from gaprune.progress import Reporter
from gaprune.prune import fold, restate_norms
from gaprune.session import Job
from gaprune.training import (
    LABELS,
    Distillation,
    EpochRecord,
    Lesson,
    Recipe,
    default_recipe,
    fit,
    gentler,
    masked_gradients,
    thawed,
)


@dataclass(frozen=True)
class Recovered:
    """What training made of a network.

    Attributes:
        found: on the search images, or by a task's score.
        tested: top-1 on the test images, which only reports, or what a task's test says; ``None`` where it has none.
        epochs: passes over the training data.
        seconds: that the training took.
        records: its epochs; a task's training tells none.
    """

    found: Measured
    tested: float | None
    epochs: int
    seconds: float
    records: tuple[EpochRecord, ...] = ()

    @classmethod
    def after(cls, records: Sequence[EpochRecord], found: Measured, tested: float | None) -> Recovered:
        """What some epochs made of a network."""
        return cls(found, tested, len(records), sum(record.seconds for record in records), tuple(records))

    @property
    def worth(self) -> float:
        """Top-1 on the search images, or a task's score."""
        return self.found.score if isinstance(self.found, Scored) else self.found.accuracy


def recover(
    job: Job,
    network: nn.Module,
    kernels: Mapping[str, Bits],
    recipe: Recipe,
    directory: Path,
    reporter: Reporter,
    *,
    lesson: Lesson = LABELS,
) -> Recovered:
    """Train a pruned network in place on the training images; never on the search or the test set.

    Its batch norms are restated first, so that training begins from what the network computes. A training that was
    stopped goes on from its last whole epoch in ``directory``.

    Args:
        job: whose images and device.
        network: on the device.
        kernels: by weight name, (out, in) kernels that it has where some are masked; the others stay zero.
        recipe: the numbers of the training.
        directory: of its states.
        reporter: told how it goes.
        lesson: what is learnt.
    """
    thawed(network)
    task = job.evaluator.images
    with pinned(job.threads):
        restate_norms(network, task.calibration, task.mean, task.std, batch_size=task.batch_size)
    with masked_gradients(network, kernels):
        records = train(job, network, recipe, lesson, directory, reporter)
    return measured(job, network, records)


def train(
    job: Job, network: nn.Module, recipe: Recipe, lesson: Lesson, directory: Path, reporter: Reporter
) -> list[EpochRecord]:
    """Train in place on the job's training images, watched on its search set; resumable, as ``recover`` is."""
    with pinned(job.threads):
        return fit(
            network,
            job.splits.train.to(job.device),
            job.splits.search,
            mean=job.data.mean,
            std=job.data.std,
            flip=job.data.flip,
            recipe=recipe,
            lesson=lesson,
            directory=directory,
            reporter=reporter,
        )


def measured(job: Job, network: nn.Module, records: list[EpochRecord]) -> Recovered:
    """What a network that some epochs have made is worth."""
    with pinned(job.threads), torch.no_grad():
        found = job.evaluator.images.measured(network)
        tested = job.evaluator.measure(network, job.splits.test).accuracy
    return Recovered.after(records, found, tested)


def gentle_recipe(job: Job, epochs: int, epoch_images: int | None) -> Recipe:
    """The default recipe for the data, gentler and for so many epochs, of so many images if not of all."""
    usual = default_recipe(job.baseline.model, job.data, job.device, seed=job.options.evolution.seed)
    return replace(usual, epochs=epochs, epoch_images=epoch_images, lr=gentler(job.baseline.model) * usual.lr)


def distillation(job: Job, *, temperature: float, weight: float) -> Lesson:
    """The original as a teacher, batch norm folded; the labels alone where its weight is 0."""
    if weight == 0:
        return LABELS
    teacher = copy.deepcopy(job.baseline.model).eval().requires_grad_(False)
    fold(teacher, job.space.graph.norms)
    return Distillation(teacher.to(memory_format=torch.channels_last), temperature, weight)
