"""The mean and standard deviation that a data set's pixels are normalised with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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
_CHUNK = 4096


def normalisation(classes: tuple[str, ...], images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units of 0..255 pixels.

    Data with CIFAR-10's classes gets CIFAR-10's usual constants, so that every copy of it is fed to trained
    networks alike. A channel that never varies gets a standard deviation of 1.

    Args:
        classes: class names in label order.
        images: (N, C, H, W) uint8 training images, at least one.
    """
    if classes == CIFAR10_CLASSES and images.shape[1] == 3:
        return _CIFAR10_MEAN, _CIFAR10_STD
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for chunk in torch.split(images, _CHUNK):
        for channel, pixels in enumerate(chunk.cpu().transpose(0, 1)):
            counts[channel] += np.bincount(pixels.reshape(-1).numpy(), minlength=256)
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    std = np.sqrt(np.where(variance > 0, variance, 1.0))
    return tuple(mean.tolist()), tuple(std.tolist())
