"""Seeded draws that keep the classes in proportion."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaprune.errors import DataError

Purpose = Literal["test", "search", "calibration"]
Counts = NDArray[np.int64]


def stratified(labels: Tensor, size: int, *, purpose: Purpose, seed: int, leave: int = 0) -> Tensor:
    """Draw ``size`` images so that every class has its share, to within one image where ``leave`` allows.

    Args:
        labels: (N,) int64 class indices.
        size: how many to draw.
        purpose: what the draw is for; draws for different purposes are independent under one seed.
        seed: 0 or more.
        leave: how many images of each class must stay behind.

    Returns:
        (size,) int64 indices into ``labels``, ascending.

    Raises:
        DataError: the seed is negative, or ``size`` is more than ``drawable`` says.
    """
    if seed < 0:
        raise DataError(f"the seed of the splits must be 0 or more, got {seed}")
    most = drawable(labels, leave)
    if not 0 <= size <= most:
        raise DataError(f"cannot draw {size} of {len(labels)} images: choose 0 to {most}")
    rng = np.random.default_rng([seed, {"test": 0, "search": 1, "calibration": 2}[purpose]])
    classes = labels.cpu().numpy()
    counts = np.bincount(classes).astype(np.int64)
    taken = _allocate(counts, size, np.maximum(counts - leave, 0))
    drawn = [
        rng.permutation(np.flatnonzero(classes == index))[:share] for index, share in enumerate(taken) if counts[index]
    ]
    return torch.from_numpy(np.sort(np.concatenate(drawn)).astype(np.int64)) if drawn else torch.empty(0).long()


def drawable(labels: Tensor, leave: int = 0) -> int:
    """The largest draw from (N,) ``labels`` that leaves ``leave`` images of every class."""
    return int((torch.bincount(labels) - leave).clamp(min=0).sum()) if len(labels) else 0


def _allocate(counts: Counts, size: int, caps: Counts) -> Counts:
    """Largest-remainder shares of ``size`` in proportion to ``counts``, none above its cap.

    Whole numbers throughout, so that shares do not depend on rounding; ties go to the larger class.
    """
    total = max(int(counts.sum()), 1)
    taken = np.minimum(counts * size // total, caps)
    while (short := size - int(taken.sum())) > 0:
        open_classes = np.flatnonzero(taken < caps)
        owed = (counts * size - taken * total)[open_classes]
        order = open_classes[np.lexsort((-counts[open_classes], -owed))]
        taken[order[:short]] += 1
    return taken


def interleaved(labels: Tensor, *, seed: int) -> Tensor:
    """An order in which every run of images holds the classes in proportion, to within about one image.

    Args:
        labels: (N,) int64 class indices.
        seed: decides the order within a class.

    Returns:
        (N,) int64, a permutation.
    """
    classes = labels.cpu().numpy()
    shuffled = np.random.default_rng([seed, 3]).permutation(len(classes))
    place = np.empty(len(classes))
    for index in np.unique(classes):
        members = np.flatnonzero(classes[shuffled] == index)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return torch.from_numpy(shuffled[np.lexsort((classes[shuffled], place))])


def complement(indices: Tensor, total: int) -> Tensor:
    """(total - n,) int64: the indices below ``total`` that are not among the (n,) ``indices``, ascending."""
    rest = torch.ones(total, dtype=torch.bool)
    rest[indices] = False
    return rest.nonzero().squeeze(1)
