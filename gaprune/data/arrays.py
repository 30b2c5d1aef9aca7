"""Data sets from arrays that a caller already holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaprune.data.given import Given, given_normalisation, normalisation_line
from gaprune.data.images import ImageData, ImageSet, NormalisedBy
from gaprune.data.lazy import LazyImages
from gaprune.data.names import own_name
from gaprune.data.normalisation import measured, usual
from gaprune.errors import DataError, first_line
from gaprune.kinds import NAMES, PAIR, SWITCH, TEXT, check

Array = Tensor | NDArray[Any]
_CHANNELS = (1, 2, 3, 4)


def from_arrays(
    name: str,
    train: tuple[Array, Array | Sequence[int]],
    test: tuple[Array, Array | Sequence[int]],
    classes: Sequence[str] | None = None,
    flip: bool = True,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
) -> ImageData:
    """A data set from a caller's own images and labels, which are copied.

    >>> import numpy as np, gaprune
    >>> images, labels = np.zeros((4, 8, 8, 3), dtype=np.uint8), [0, 1, 0, 1]
    >>> data = gaprune.from_arrays("mine", (images, labels), (images, labels), mean=0.5, std=0.25)
    >>> data.mean, data.classes
    ((127.5, 127.5, 127.5), ('0', '1'))

    Args:
        name: short name for file names and tables; one that stands for other data is made longer.
        train: images, uint8 of shape (N, C, H, W) or (N, H, W, C) with 1 to 4 channels (read as the former
            where both would do), and their (N,) whole-number labels.
        test: the same for the images that report.
        classes: class names in label order; by default the labels' own numbers.
        flip: whether a mirrored image still shows its class.
        mean: what the network was trained with, of pixels from 0 to 1 or from 0 to 255, one number a channel or one
            for all; by default the training images' own.
        std: standard deviation, likewise.

    Raises:
        DataError: an array has another type or shape, labels do not fit the images or the classes or leave one of
            their numbers out, or there are fewer than two classes.
        OptionError: ``mean`` or ``std`` cannot be used.
    """
    check({"name": (name, TEXT), "train": (train, PAIR), "test": (test, PAIR)}, DataError)
    check({"classes": (classes, NAMES.or_none()), "flip": (flip, SWITCH)}, DataError)
    given = given_normalisation(mean, std)
    train_set = _image_set("train", *train)
    test_set = _image_set("test", *test)
    if train_set.images.shape[1:] != test_set.images.shape[1:]:
        raise DataError(
            f"train images are (C, H, W) = {tuple(train_set.images.shape[1:])}, "
            f"test images {tuple(test_set.images.shape[1:])}: make them one size"
        )
    names = class_labels(name, train_set.labels, test_set.labels, classes)
    called = own_name(name, "arrays", names, train_set.images.shape)
    source = f"arrays given by the caller as {name!r}"
    return assemble(called, source, names, train_set, test_set, flip=flip, given=given)


def class_labels(name: str, train: Tensor, test: Tensor, classes: Sequence[str] | None) -> tuple[str, ...]:
    """Class names in label order, after a check that the labels are theirs.

    Args:
        name: of the data, for messages.
        train: (N,) labels.
        test: (N,) labels.
        classes: names, where somebody gave them.

    Raises:
        DataError: fewer than two classes, a label without a name, or numbers that no training image has.
    """
    highest = int(max(train.max(), test.max()))
    names = tuple(map(str, range(highest + 1) if classes is None else classes))
    if len(names) < 2:
        raise DataError(f"data set {name!r} has {len(names)} class: at least 2 are needed")
    if highest >= len(names):
        raise DataError(f"label {highest} has no name: {len(names)} classes allow labels 0 to {len(names) - 1}")
    unseen = (torch.bincount(train, minlength=len(names)) == 0).nonzero().flatten().tolist()
    if classes is None and unseen:
        lowest = int(min(train.min(), test.min()))
        advice = "subtract 1" if lowest == 1 else "number the classes without gaps, or name all of them (classes=...)"
        raise DataError(f"no training image has the label {unseen[0]} of 0 to {highest}: labels begin at 0, {advice}")
    return names


def assemble(
    name: str,
    source: str,
    classes: tuple[str, ...],
    train: ImageSet,
    test: ImageSet,
    *,
    flip: bool = True,
    skipped: tuple[str, ...] = (),
    validation: ImageSet | None = None,
    given: Given | None = None,
    notes: tuple[str, ...] = (),
    sample: Callable[[], Tensor | LazyImages] | None = None,
) -> ImageData:
    """A data set with the normalisation that is given, or suits its training images: all, or a ``sample``."""
    mean, std, by = _normalisation(classes, train, given, sample)
    lines = list(notes)
    if given is not None:
        lines.append(normalisation_line(mean, std, f"given as {given.how}"))
    for part, images in (("test", test), ("validation", validation)):
        if images is not None:
            lines += _missing(classes, train, images, part)
    return ImageData(
        name, source, classes, train, test, mean, std, flip, skipped, validation, normalised_by=by, notes=tuple(lines)
    )


def _normalisation(
    classes: tuple[str, ...], train: ImageSet, given: Given | None, sample: Callable[[], Tensor | LazyImages] | None
) -> tuple[tuple[float, ...], tuple[float, ...], NormalisedBy]:
    channels = train.images.shape[1]
    if given is not None:
        return *given.spread(channels), "given"
    known = usual(classes, channels)
    if known is not None:
        return *known, "usual"
    return *measured(train.images if sample is None else sample()), "measured"


def _missing(classes: tuple[str, ...], train: ImageSet, other: ImageSet, part: str) -> list[str]:
    """A line where a class that is trained on has no image in another part."""
    counts, there = (torch.bincount(images.labels.cpu(), minlength=len(classes)) for images in (train, other))
    absent = [classes[index] for index in ((counts > 0) & (there == 0)).nonzero().flatten().tolist()]
    if not absent:
        return []
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return [f"no {part} image shows the class {absent[0]!r}{more}: accuracies there say nothing of it"]


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
