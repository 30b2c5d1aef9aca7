"""Which network is trained on which images, and how when nobody says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn

from gaprune.data import ImageData, ImageSet, Photographs
from gaprune.models import build
from gaprune.prune import Probe, copied, probe
from gaprune.training.recipe import Recipe, trains_faster_in_bfloat16


@dataclass(frozen=True)
class Subject:
    """Which network is wanted, and for which images.

    Attributes:
        model_name: as ``gaprune.models.build`` knows it.
        stem: first layers of the network.
        data: the data set, for its name, classes and normalisation.
        train: the images to train on, if need be: never the search set or the test images.
        validate: held-out images, which show how the training goes; nothing is chosen by them.
        device: where the network is wanted.
    """

    model_name: str
    stem: str
    data: ImageData
    train: ImageSet
    validate: ImageSet
    device: torch.device


def default_recipe(network: nn.Module, data: ImageData, device: torch.device, *, seed: int = 0) -> Recipe:
    """The recipe for a network and a data set.

    The digits take 8 epochs, which is enough for them. Other data gets about 300,000 images in all, in 30 to
    100 epochs, at a peak rate that grows with the batch. The numbers are the same for all networks so far; whether
    convolutions run in bfloat16 is not.
    """
    height, width = data.image_shape[1:]
    count = len(data.train)
    if data.name == "digits":
        recipe = Recipe(epochs=8, batch_size=64, lr=0.03, ema_decay=0.98)
    elif count < 10_000:
        recipe = Recipe(batch_size=32, lr=0.05, ema_decay=0.99)
    elif device.type == "cuda":
        recipe = Recipe(batch_size=512, lr=0.4, ema_decay=0.99)
    else:
        recipe = Recipe(batch_size=128, lr=0.1, ema_decay=0.998)
    if data.name != "digits":
        recipe = dataclasses.replace(recipe, epochs=min(100, max(30, round(300_000 / count))))
    streamed = isinstance(data.train.images, Photographs)  # which are cropped at random already
    pad = 0 if streamed else min(4, height // 8, width // 8)
    return dataclasses.replace(recipe, pad=pad, seed=seed, amp=trains_faster_in_bfloat16(network, device))


def held_out_size(data: ImageData) -> int:
    """How many training images are held out for the search set when nobody says: a fifth, at most 2,000."""
    return max(1, min(2_000, round(len(data.train) * 0.2)))


def new_network(subject: Subject, seed: int) -> nn.Module:
    """An untrained network on the CPU, drawn from ``seed``, that has shown to take the data's images."""
    data = subject.data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = copied(build(subject.model_name, len(data.classes), stem=subject.stem))
    probe(model, Probe(subject.model_name, data.image_shape, len(data.classes), data.name))
    return model
