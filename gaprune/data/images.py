"""Image data as tensors that live on one device: uint8 pixels, int64 labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gaprune.data.lazy import LazyImages


@dataclass(frozen=True)
class ImageSet:
    """Some labelled images.

    Attributes:
        images: (N, C, H, W) uint8, 0 to 255; photographs that are not all in memory are read when indexed.
        labels: (N,) int64, class indices.
    """

    images: Tensor | LazyImages
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def bytes(self) -> int:
        """Size of all pixels."""
        return math.prod(self.images.shape)

    def select(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` ((n,) int64), in that order; what is not in memory is not read."""
        images = self.images
        return ImageSet(
            images.select(indices) if isinstance(images, LazyImages) else images[indices], self.labels[indices]
        )

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and labels at ``indices`` ((n,) int64), in that order, in memory."""
        return self.images[indices], self.labels[indices]

    def loaded(self) -> ImageSet:
        """The same images, all in memory."""
        return ImageSet(self.images[:], self.labels) if isinstance(self.images, LazyImages) else self

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device))


def first(images: ImageSet, count: int) -> ImageSet:
    """The first ``count`` images, or all where there are fewer."""
    return images.select(torch.arange(min(count, len(images)), device=images.labels.device))


NormalisedBy = Literal["measured", "usual", "given"]
"""Where a data set's normalisation comes from: its own pixels, what such data usually gets, or somebody who knows."""


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
        validation: images to choose by, where the data have some apart from those that train and those that test.
        normalised_by: where ``mean`` and ``std`` come from; what is given goes before what a network says of itself.
        notes: lines that who uses the data should read.
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
    validation: ImageSet | None = None
    normalised_by: NormalisedBy = "measured"
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def with_normalisation(
        self, mean: tuple[float, ...], std: tuple[float, ...], by: NormalisedBy = "given"
    ) -> ImageData:
        """The same data, normalised as a baseline was trained with: numbers for 0..255 pixels, one a channel."""
        return replace(self, mean=tuple(mean), std=tuple(std), normalised_by=by)


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
    return lambda images: images.to(torch.float32, copy=True).sub_(mean_t).div_(std_t)
