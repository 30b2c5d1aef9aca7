"""A network of one part of a run, trained on before the next part prunes it; what is masked stays masked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from gaprune.front import member_config
from gaprune.genome import Bits, Genome
from gaprune.progress import Reporter
from gaprune.recovery import Recovered, gentle_recipe, recover
from gaprune.saved import load, save_compact, save_genome
from gaprune.session import Job
from gaprune.training import LABELS, Lesson

TRAINED, STATES = "trained", "training"
"""Folders of a part of a run: the network that was trained on, and states of its training."""


def open_network(job: Job, place: Path) -> nn.Module:
    """The network in a folder, on the job's device."""
    return load(place, model=job.form).to(job.device)


def train_on(
    job: Job,
    place: Path,
    kernels: Mapping[str, Bits],
    epochs: int,
    states: Path,
    reporter: Reporter,
    lesson: Lesson = LABELS,
) -> tuple[nn.Module, Recovered]:
    """Train a copy of the network in a folder on the training images; a stopped training goes on.

    Args:
        job: whose images and device.
        place: the network's folder.
        kernels: by weight name, (out, in) kernels that it has where some are masked; the others stay zero.
        epochs: of the training, of ``--epoch-images`` each.
        states: folder of the training's states.
        reporter: told how it goes.
        lesson: what is learnt.

    Raises:
        TrainingError: it diverged.
    """
    network = open_network(job, place)
    recipe = gentle_recipe(job, epochs, job.options.again.epoch_images)
    return network, recover(job, network, kernels, recipe, states, reporter, lesson=lesson)


def save_trained(job: Job, network: nn.Module, genome: Genome, path: Path, metrics: Mapping[str, Any]) -> None:
    """Save a network where the next part looks for it.

    Args:
        job: in whose space ``genome`` is.
        network: what was trained on.
        genome: its genes.
        path: of the part's directory.
        metrics: what it reaches.
    """
    save_compact(path / TRAINED, network, member_config(job), dict(metrics))
    save_genome(path / TRAINED, genome, job.space.layout)
