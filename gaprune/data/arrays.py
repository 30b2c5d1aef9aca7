"""Data sets from arrays that a caller already holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaprune.data.images import ImageData, ImageSet
from gaprune.data.names import own_name
from gaprune.data.normalisation import normalisation
from gaprune.errors import DataError, first_line

Array = Tensor | NDArray[Any]
_CHANNELS = (1, 2, 3, 4)


def from_arrays(
    name: str,
    train: tuple[Array, Array | Sequence[int]],
    test: tuple[Array, Array | Sequence[int]],
    classes: Sequence[str] | None = None,
    flip: bool = True,
) -> ImageData:
    """A data set from a caller's own images and labels, which are copied.

    Args:
        name: short name for file names and tables; one that stands for other data is made longer.
        train: images, uint8 of shape (N, C, H, W) or (N, H, W, C) with 1 to 4 channels (read as the former
            where both would do), and their (N,) whole-number labels.
        test: the same for the images that report.
        classes: class names in label order; by default the labels' own numbers.
        flip: whether a mirrored image still shows its class.

    Raises:
        DataError: an array has another type or shape, labels do not fit the images or the classes, or there
            are fewer than two classes.
    """
    train_set = _image_set("train", *train)
    test_set = _image_set("test", *test)
    if train_set.images.shape[1:] != test_set.images.shape[1:]:
        raise DataError(
            f"train images are (C, H, W) = {tuple(train_set.images.shape[1:])}, "
            f"test images {tuple(test_set.images.shape[1:])}: make them one size"
        )
    highest = int(max(train_set.labels.max(), test_set.labels.max()))
    names = tuple(map(str, range(highest + 1) if classes is None else classes))
    if len(names) < 2:
        raise DataError(f"data set {name!r} has {len(names)} class: at least 2 are needed")
    if highest >= len(names):
        raise DataError(f"label {highest} has no name: {len(names)} classes allow labels 0 to {len(names) - 1}")
    called = own_name(name, "arrays", names, train_set.images.shape)
    return assemble(called, f"arrays given by the caller as {name!r}", names, train_set, test_set, flip=flip)


def assemble(
    name: str,
    source: str,
    classes: tuple[str, ...],
    train: ImageSet,
    test: ImageSet,
    *,
    flip: bool = True,
    skipped: tuple[str, ...] = (),
) -> ImageData:
    """A data set with the normalisation that suits its training images."""
    mean, std = normalisation(classes, train.images)
    return ImageData(name, source, classes, train, test, mean, std, flip, skipped)


def _image_set(part: str, images: Array, labels: Array | Sequence[int]) -> ImageSet:
    found = _array(f"{part} images", images)
    if found.dtype != np.uint8 or found.ndim != 4:
        raise DataError(
            f"{part} images must be uint8 of shape (N, C, H, W) or (N, H, W, C), got {found.dtype} {found.shape}"
        )
    pixels = torch.tensor(found)
    if pixels.shape[1] not in _CHANNELS:
        if pixels.shape[3] not in _CHANNELS:
            raise DataError(f"{part} images need 1 to 4 channels at axis 1 or 3, got {tuple(pixels.shape)}")
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, _labels(part, labels, len(pixels)))


def _labels(part: str, labels: Array | Sequence[int], count: int) -> Tensor:
    numbers = _array(f"{part} labels", labels)
    if numbers.ndim != 1 or len(numbers) != count or count == 0:
        raise DataError(
            f"{part} needs one label for each of its images and at least one image, "
            f"got {count} images and labels of shape {numbers.shape}"
        )
    if numbers.dtype.kind not in "iu" or (whole := numbers.astype(np.int64)).min() < 0:
        raise DataError(f"{part} labels must be whole numbers from 0 up, got {numbers.dtype} labels")
    return torch.from_numpy(whole)


def _array(what: str, values: Array | Sequence[int]) -> NDArray[Any]:
    """Whatever a caller gave, as NumPy has it: of more types than torch knows."""
    try:
        return np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} are no array: {first_line(error)}") from error
