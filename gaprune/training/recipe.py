"""How a network is trained: the numbers of one-cycle SGD, and the curves that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from gaprune.training.statistics import batch_norms

START_DIVISOR = 25.0
END_DIVISOR = 1000.0

GENTLER, WITHOUT_NORMS = 0.2, 0.05
"""Peak learning rate of a network that knows its task, of that which one is trained from scratch with.

The second is for networks without batch norm, which bear less: see ``gentler``.
"""

SHORT = 200
"""Steps below which a training's batch norms are measured anew in the end: their memory of some ten steps, and the
average's of a tenth of all, reach back to where the learning rate was high."""

LATER = {"cutout": 0, "warm_up": 0.25}
"""Numbers that older trainings do not know, as they had them."""


@dataclass(frozen=True)
class Recipe:
    """One-cycle SGD with Nesterov momentum (Smith and Topin 2018, arXiv:1708.07120).

    Attributes:
        epochs: passes over the training images, or over as many of them as ``epoch_images`` says.
        batch_size: most images in a step; an epoch is cut into steps of equal size.
        lr: peak learning rate.
        momentum: of Nesterov's method.
        weight_decay: of convolution and linear weights; batch norm and biases have none.
        label_smoothing: share of the target spread evenly over all classes.
        ema_decay: of the moving average of the weights, once it is warm.
        pad: most pixels that a training image is shifted by.
        seed: of the order of the images, of their augmentation and of dropout.
        amp: whether convolutions run in bfloat16; weights and statistics stay in float32.
        epoch_images: images of an epoch, drawn anew for each; None, or more than there are, is all of them.
        cutout: side of the square that is blotted out of each training image, in pixels; 0 is none.
        warm_up: share of all steps after which the learning rate is at its peak.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    ema_decay: float = 0.999
    pad: int = 4
    seed: int = 0
    amp: bool = False
    epoch_images: int | None = None
    cutout: int = 0
    warm_up: float = 0.25

    def record(self) -> dict[str, Any]:
        """JSON values that name it. What came later only where it is another: older trainings keep their names."""
        return {name: value for name, value in asdict(self).items() if name not in LATER or LATER[name] != value}


def images_per_epoch(recipe: Recipe, images: int) -> int:
    """Number of images that an epoch goes through, of ``images`` to train on."""
    return images if recipe.epoch_images is None else min(recipe.epoch_images, images)


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    """Number of steps of an epoch, about equally many images each, of ``images`` to train on.

    A step has ``recipe.batch_size`` images at most, or one more where one would be left alone, of which batch norm
    cannot learn.
    """
    count = images_per_epoch(recipe, images)
    return max(1, min(math.ceil(count / recipe.batch_size), count // 2))


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """The rate of step ``step`` (from 0) of ``total``: a cosine up to ``recipe.lr``, then a cosine down."""
    start, end = recipe.lr / START_DIVISOR, recipe.lr / END_DIVISOR
    peak_at = recipe.warm_up * (total - 1)
    if step < peak_at:
        return _cosine(start, recipe.lr, step / peak_at)
    return _cosine(recipe.lr, end, (step - peak_at) / max(total - 1 - peak_at, 1.0))


def ema_decay(recipe: Recipe, step: int) -> float:
    """The average's decay at step ``step`` (from 0).

    Starts at 0.1 and rises to ``recipe.ema_decay``, so that the average covers the latest tenth of a short
    run, never the random weights it began with.
    """
    return min(recipe.ema_decay, (1 + step) / (10 + step))


def gentler(network: nn.Module) -> float:
    """Share of the usual peak learning rate for a network that knows its task already, as one that was pruned.

    A small network with layer norms on the digits, cut to half, fell from 29 to 14% of 400 images in 16 steps at a
    fifth of the rate, and rose to 54% at a twentieth; after 80 steps they were alike.
    """
    return GENTLER if batch_norms(network) else WITHOUT_NORMS


def bfloat16_pays(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware, faster than float32 ones.

    On a CPU this means AMX tiles; other CPUs emulate bfloat16 or gain too little to give up the precision.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.10
    return bool(capabilities.get("amx_bf16", False))


def trains_faster_in_bfloat16(network: nn.Module, device: torch.device) -> bool:
    """Whether ``bfloat16_pays`` in the training of a network, too.

    Not on a CPU where convolutions are depthwise, whose gradients have no fast kernel: MobileNetV2 and EfficientNet-B0
    train half as fast so (57 for 102, 26 for 60 images a second at 64 x 64 on one core with AMX), though they answer
    faster.
    """
    return bfloat16_pays(device) and not (device.type == "cpu" and any(map(_is_depthwise, network.modules())))


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == module.in_channels > 1


def _cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2
