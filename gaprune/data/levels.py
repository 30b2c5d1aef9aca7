"""What stands for an image in somebody's data set, as (H, W, C) uint8 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gaprune.data.fit import Fit
from gaprune.data.given import WHITE, Given
from gaprune.data.upright import upright
from gaprune.errors import DataError

CHANNELS = (1, 2, 3, 4)
MOST_OFF = 2.0
"""Levels of 0..255 that a pixel may lie outside them before numbers are no pixels."""

_NEARLY_ONE = 1.0 + 1e-6


@dataclass(frozen=True)
class Levels:
    """How floating-point numbers are brought back to pixels: times ``scale``, plus ``shift``, a number a channel.

    Attributes:
        scale: levels of 0..255 that a step of 1 stands for.
        shift: level of 0..255 that 0 stands for.
        found: in words.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]
    found: str

    @classmethod
    def of(cls, sample: Sequence[Any], given: Given | None) -> Levels:
        """What the numbers of some images are: pixels from 0 to 1, pixels from 0 to 255, or normalised ones.

        Args:
            sample: images of one kind, of which those of floating-point numbers tell.
            given: the normalisation that they may have.

        Raises:
            DataError: they are normalised, and nobody says how.
        """
        arrays = [array for array in map(as_array, sample) if array is not None and array.dtype.kind == "f"]
        if not arrays:
            return cls((1.0,), (0.0,), "pixels")
        low, high = min(float(one.min()) for one in arrays), max(float(one.max()) for one in arrays)
        if low >= 0 and high <= _NEARLY_ONE:
            return cls((WHITE,), (0.0,), "pixels from 0 to 1")
        if low >= 0 and high <= WHITE and all(bool((one == one.round()).all()) for one in arrays):
            return cls((1.0,), (0.0,), "pixels from 0 to 255")
        if given is None:
            raise DataError(
                f"images hold numbers from {low:.3g} to {high:.3g}: give uint8 or 0..1, or the mean and std that they "
                "were normalised with (mean=..., std=...)"
            )
        return cls(given.std, given.mean, f"numbers normalised with {given.how}")

    def pixels(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """(H, W, C) of uint8 or floating-point numbers as uint8.

        Raises:
            DataError: they are no pixels, even after the normalisation is undone.
        """
        if array.dtype == np.uint8:
            return array
        if array.dtype.kind != "f":
            raise DataError(f"images must be uint8 or floating-point, got {array.dtype}")
        levels = array.astype(np.float64) * np.array(self.scale) + np.array(self.shift)
        if not (levels.min() >= -MOST_OFF and levels.max() <= WHITE + MOST_OFF):
            low, high = float(array.min()), float(array.max())
            raise DataError(f"an image holds numbers from {low:.3g} to {high:.3g}, which are no {self.found}")
        pixels: NDArray[np.uint8] = levels.round().clip(0, WHITE).astype(np.uint8)
        return pixels


def as_array(image: Any) -> NDArray[Any] | None:
    """(H, W, C) of an array or a tensor; None for what is none.

    Raises:
        DataError: its shape is none of an image.
    """
    if not isinstance(image, (np.ndarray, Tensor)):
        return None
    array = _to_numpy(image) if isinstance(image, Tensor) else image
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim == 3 and array.shape[0] in CHANNELS:
        return array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] in CHANNELS:
        return array
    raise DataError(f"an image must be (C, H, W), (H, W, C) or (H, W) with 1 to 4 channels, got {array.shape}")


def _to_numpy(image: Tensor) -> NDArray[Any]:
    """On the CPU; of floating-point numbers NumPy does not know bfloat16."""
    found: NDArray[Any] = (image.detach().cpu().float() if image.is_floating_point() else image.cpu()).numpy()
    return found


def pixels_of(image: Any, levels: Levels, fit: Fit | None) -> NDArray[np.uint8]:
    """(C, H, W) pixels of a PIL image, an array or a tensor.

    Raises:
        DataError: it is of another kind, or its numbers are no pixels.
    """
    if isinstance(image, Image.Image):
        shown = fit.centred(image) if fit is not None else np.array(upright(image))
        return shown.transpose(2, 0, 1)
    array = as_array(image)
    if array is None:
        raise DataError(f"an image must be a PIL image, an array or a tensor, got {type(image).__name__}")
    shown = levels.pixels(array)
    if fit is not None:
        shown = fit.centred(Image.fromarray(shown[:, :, 0] if shown.shape[2] == 1 else shown))
    return shown.transpose(2, 0, 1)
