"""Images that are not all in memory: they stand for a (N, C, H, W) uint8 tensor and are read when indexed."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Indices = NDArray[np.int64]
Self = TypeVar("Self", bound="LazyImages")


class LazyImages(ABC):
    """What code that goes through images batch by batch may ask of them; of a tensor's ways only these.

    Args:
        places: (N,) which of the images that there are, in order.
        image_shape: (C, H, W) of one image.
        device: where batches go.
    """

    def __init__(self, places: Indices, image_shape: tuple[int, int, int], device: torch.device | None = None) -> None:
        self.places = places
        self.image_shape = image_shape
        self.device = torch.device("cpu") if device is None else device

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return torch.Size((len(self.places), *self.image_shape))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, wanted: slice | Tensor) -> Tensor:
        """(n, C, H, W) uint8 on the device: the images of a slice, or at (n,) int64 indices."""
        return self.read(self._taken(wanted)).to(self.device)

    def select(self: Self, indices: Tensor) -> Self:
        """The images at (n,) int64 indices, not read yet."""
        return self._with(self._taken(indices))

    def tensor_split(self, sections: int) -> Iterator[Tensor]:
        """As ``torch.Tensor.tensor_split`` has it, one part at a time."""
        for part in np.array_split(self.places, sections):
            yield self.read(part).to(self.device)

    def to(self: Self, device: torch.device | str) -> Self:
        """The same images, whose batches go to ``device``."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    @abstractmethod
    def read(self, places: Indices) -> Tensor:
        """(n, C, H, W) uint8 on the CPU."""

    @abstractmethod
    def digest(self) -> str | None:
        """Names the pixels without reading them; None where they must be read."""

    def _taken(self, wanted: slice | Tensor) -> Indices:
        return self.places[wanted if isinstance(wanted, slice) else wanted.cpu().numpy()]

    def _with(self: Self, places: Indices) -> Self:
        chosen = copy.copy(self)
        chosen.places = places
        return chosen
