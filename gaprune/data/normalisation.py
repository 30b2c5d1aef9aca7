"""The mean and standard deviation that a data set's pixels are normalised with."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gaprune.data.lazy import LazyImages

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_CIFAR10_MEAN = (125.3069, 122.9501, 113.8660)
_CIFAR10_STD = (62.9932, 62.0887, 66.7048)
_PIXELS = 1 << 22

SAMPLE = 512
"""Photographs that are looked at for their mean and standard deviation."""


def usual(classes: tuple[str, ...], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """CIFAR-10's usual mean and standard deviation for data with its classes, so that every copy is fed alike."""
    return (_CIFAR10_MEAN, _CIFAR10_STD) if classes == CIFAR10_CLASSES and channels == 3 else None


def normalisation(classes: tuple[str, ...], images: Tensor | LazyImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``usual`` where there is one, else ``measured``."""
    return usual(classes, images.shape[1]) or measured(images)


def measured(images: Tensor | LazyImages) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units of 0..255 pixels; 1 where a channel never varies.

    Args:
        images: (N, C, H, W) uint8, at least one.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    step = max(1, _PIXELS // (images.shape[2] * images.shape[3]))
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        for channel, pixels in enumerate(chunk.cpu().transpose(0, 1)):
            counts[channel] += np.bincount(pixels.reshape(-1).numpy(), minlength=256)
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    std = np.sqrt(np.where(variance > 0, variance, 1.0))
    return tuple(mean.tolist()), tuple(std.tolist())
