"""Who may look at which image: training, search, calibration and test parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from gaprune.data.images import ImageData, ImageSet
from gaprune.data.stratify import complement, drawable, interleaved, stratified
from gaprune.errors import DataError, OptionError, choice_error

SearchFrom = Literal["train", "test", "validation"]
SEARCH_FROM: tuple[SearchFrom, ...] = ("train", "test", "validation")


@dataclass(frozen=True)
class Splits:
    """The four parts of a data set. No image is in two of them, but calibration lies inside train.

    Attributes:
        train: what networks are trained on.
        search: fitness is measured here; held out from training or from the test images.
        calibration: some of ``train``, for statistics and batch norm; in an order that makes every
            batch a fair sample of the classes.
        test: only ever reports; no choice depends on it.
        record: what repeats the split, as JSON values: ``seed``, ``search_from``, and for each part its
            size (``images``), the part of the data it was drawn from (``of``) and a hash of its
            indices there (``indices_sha256``).
    """

    train: ImageSet
    search: ImageSet
    calibration: ImageSet
    test: ImageSet
    record: dict[str, Any]


def split(
    data: ImageData,
    *,
    search_from: SearchFrom = "train",
    search_size: int,
    calibration_size: int,
    seed: int = 0,
) -> Splits:
    """Divide a data set, class by class in proportion.

    Args:
        data: the whole data set.
        search_from: ``train`` holds the search set out of the training images; ``test`` holds it out of the
            test images and leaves the training part whole, for baselines that have seen all of it; ``validation``
            takes it from the data's own, and leaves the others whole.
        search_size: images of the search set; at most half of what it is held out from, or all of ``validation``.
        calibration_size: images of the calibration set.
        seed: decides which images; 0 or more.

    Raises:
        OptionError: ``search_from`` is none of these, or the data have no such part.
        DataError: a size does not fit the data set; the message gives the largest that does.
    """
    held_out_of = pool(data, search_from)
    leave = 0 if search_from == "validation" else 1
    share = "all" if leave == 0 else "half"
    most = len(held_out_of) if leave == 0 else min(len(held_out_of) // 2, drawable(held_out_of.labels, leave=1))
    _check_size("search set", search_size, most, f"{share} of the {len(held_out_of)} {search_from} images")
    search = stratified(held_out_of.labels, search_size, purpose="search", seed=seed, leave=leave)
    rest = complement(search, len(held_out_of))
    train = rest if search_from == "train" else torch.arange(len(data.train))
    test = rest if search_from == "test" else torch.arange(len(data.test))
    _check_size("calibration set", calibration_size, len(train), f"the {len(train)} images left to train on")
    train_labels = data.train.labels[train.to(data.train.labels.device)]
    drawn = stratified(train_labels, calibration_size, purpose="calibration", seed=seed)
    calibration = train[drawn[interleaved(train_labels[drawn.to(train_labels.device)], seed=seed)]]
    parts = {
        "train": ("train", train),
        "search": (search_from, search),
        "calibration": ("train", calibration),
        "test": ("test", test),
    }
    record = {"seed": seed, "search_from": search_from} | {
        name: {"images": len(indices), "of": of, "indices_sha256": _digest(indices)}
        for name, (of, indices) in parts.items()
    }
    return Splits(
        train=_select(data.train, train),
        search=_select(held_out_of, search),
        calibration=_select(data.train, calibration),
        test=_select(data.test, test),
        record=record,
    )


def pool(data: ImageData, search_from: str) -> ImageSet:
    """What a search set is taken from.

    Raises:
        OptionError: it is none of the parts, or the data have no such part.
    """
    if search_from not in SEARCH_FROM:
        raise choice_error("search_from", search_from, SEARCH_FROM)
    if search_from == "validation" and data.validation is None:
        raise OptionError(f"search-from validation: {data.name} has no folder val/ or validation/ beside test/")
    parts = {"train": data.train, "test": data.test, "validation": data.validation}
    return cast(ImageSet, parts[search_from])


def _check_size(what: str, size: int, most: int, whole: str) -> None:
    if most < 1:
        raise DataError(f"the data set is too small for a {what}: nothing can be drawn from {whole}")
    if not 1 <= size <= most:
        raise DataError(f"a {what} of {size} images does not fit: choose 1 to {most} (at most {whole})")


def _select(images: ImageSet, indices: Tensor) -> ImageSet:
    if torch.equal(indices, torch.arange(len(images))):  # not when all of them stand in another order
        return images
    return images.select(indices.to(images.labels.device))


def _digest(indices: Tensor) -> str:
    """First 16 hex digits of the SHA-256 of the indices as little-endian 64-bit integers."""
    return hashlib.sha256(indices.numpy().astype("<i8").tobytes()).hexdigest()[:16]
