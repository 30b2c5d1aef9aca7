from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gaprune.data import from_arrays
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError

IMAGES = np.arange(4 * 3 * 5 * 6, dtype=np.uint8).reshape(4, 3, 5, 6)
LABELS = np.array([0, 1, 1, 0])
GOOD = (IMAGES, LABELS)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES, LABELS),
        (IMAGES.transpose(0, 2, 3, 1), LABELS.tolist()),
        (torch.from_numpy(IMAGES), torch.from_numpy(LABELS).to(torch.uint8)),
        (torch.from_numpy(IMAGES).permute(0, 2, 3, 1), LABELS.astype(np.int16)),
        (IMAGES, LABELS.astype(np.uint16)),
        (IMAGES, LABELS.astype(np.uint64)),
        (IMAGES, torch.from_numpy(LABELS).to(torch.uint32)),
    ],
    ids=["numpy-NCHW", "numpy-NHWC", "torch-NCHW", "torch-NHWC", "uint16", "uint64", "torch-uint32"],
)
def test_every_layout_gives_the_same_data(images: Any, labels: Any) -> None:
    data = from_arrays("mine", (images, labels), GOOD)
    assert torch.equal(data.train.images, torch.from_numpy(IMAGES))
    assert data.train.images.is_contiguous()
    assert torch.equal(data.train.labels, torch.from_numpy(LABELS))
    assert (data.name, data.classes, data.image_shape, data.flip) == ("mine", ("0", "1"), (3, 5, 6), True)


def test_the_callers_arrays_are_copied() -> None:
    images = IMAGES.copy()
    data = from_arrays("mine", (images, LABELS), GOOD, classes=["x", "y"], flip=False)
    images[:] = 0
    assert torch.equal(data.train.images, torch.from_numpy(IMAGES))
    assert (data.classes, data.flip) == (("x", "y"), False)


def test_read_only_arrays_are_fine() -> None:
    images = IMAGES.copy()
    images.flags.writeable = False
    assert len(from_arrays("mine", (images, LABELS), GOOD).train) == 4


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES.astype(np.float32), LABELS), r"train images must be uint8 .* got float32 \(4, 3, 5, 6\)"),
        ((IMAGES[0], LABELS), r"got uint8 \(3, 5, 6\)"),
        ((np.zeros((4, 7, 8, 9), np.uint8), LABELS), "need 1 to 4 channels at axis 1 or 3"),
        ((IMAGES, LABELS[:3]), r"got 4 images and labels of shape \(3,\)"),
        ((IMAGES[:0], LABELS[:0]), "at least one image"),
        ((IMAGES, LABELS / 2), "whole numbers from 0 up, got float64"),
        ((IMAGES, LABELS - 1), "whole numbers from 0 up"),
        ((IMAGES, LABELS == 1), "whole numbers from 0 up, got bool"),
        ((IMAGES, np.array(["a", "b", "b", "a"])), "train labels must be whole numbers from 0 up, got <U1"),
        ((IMAGES, [0, 1, None, 0]), "whole numbers from 0 up, got object"),
        ((IMAGES, [0, 1, [1], 0]), "train labels are no array"),
        ((IMAGES.astype(object), LABELS), r"train images must be uint8 .* got object \(4, 3, 5, 6\)"),
        ((np.array([IMAGES[0], IMAGES[1, :1]], dtype=object), LABELS[:2]), r"must be uint8 .* got object"),
        (([IMAGES[0], IMAGES[1, :1]], LABELS[:2]), "train images are no array"),
        ((IMAGES, torch.from_numpy(LABELS).to(torch.bfloat16)), "labels are no array"),
        ((IMAGES, LABELS * 2), "label 2 has no name: 2 classes allow labels 0 to 1"),
        ((IMAGES[:, :, :4], LABELS), r"train images are \(C, H, W\) = \(3, 4, 6\), test images \(3, 5, 6\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(train: tuple[Any, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays("mine", train, GOOD, classes=("x", "y"))


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="'mine' has 1 class: at least 2"):
        from_arrays("mine", (IMAGES, LABELS * 0), (IMAGES, LABELS * 0))


@pytest.mark.parametrize(
    ("name", "size", "classes", "called"),
    [
        ("digits", 32, tuple("0123456789"), "digits-arrays"),
        ("cifar10", 16, CIFAR10_CLASSES, "cifar10-arrays"),
        ("cifar10", 32, CIFAR10_CLASSES, "cifar10"),
    ],
)
def test_data_that_are_called_like_known_ones_are_not_taken_for_them(
    name: str, size: int, classes: tuple[str, ...], called: str
) -> None:
    part = (np.zeros((2, 3, size, size), np.uint8), [0, 1])
    assert from_arrays(name, part, part, classes=classes).name == called
