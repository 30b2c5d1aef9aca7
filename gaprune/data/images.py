"""Image data as tensors that live on one device: uint8 pixels, int64 labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Some labelled images.

    Attributes:
        images: (N, C, H, W) uint8, 0 to 255.
        labels: (N,) int64, class indices.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` ((n,) int64), in that order."""
        return ImageSet(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set as it comes: a training part and a test part.

    Attributes:
        name: short name for file names and tables, such as ``cifar10`` or ``digits``.
        source: one sentence for the manifest: where the images come from.
        classes: class names, in label order.
        train: all training images.
        test: all test images.
        mean: per channel mean of the 0..255 pixels that networks are normalised with.
        std: per channel standard deviation of the same.
        flip: whether a mirrored image still shows its class (false for digits).
        skipped: images that could not be read, each with the reason.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = True
    skipped: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def with_normalisation(self, mean: tuple[float, ...], std: tuple[float, ...]) -> ImageData:
        """The same data, normalised as a baseline was trained with."""
        return replace(self, mean=tuple(mean), std=tuple(std))


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(N, C, H, W) uint8 images as float32 network input: (pixel - mean) / std per channel."""
    return normaliser(mean, std, images.device)(images)


def normaliser(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device | str
) -> Callable[[Tensor], Tensor]:
    """``normalise`` for many batches: the constants go to the device once, so no batch waits for them."""
    shape = (1, -1, 1, 1)
    mean_t = torch.tensor(mean, dtype=torch.float32, device=device).view(shape)
    std_t = torch.tensor(std, dtype=torch.float32, device=device).view(shape)
    return lambda images: (images.to(torch.float32) - mean_t) / std_t
