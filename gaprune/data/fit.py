"""How a photograph of any size is brought to the size that a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gaprune.data.upright import upright
from gaprune.errors import OptionError

SMALLEST, LARGEST = 8, 2048
"""Pixels of a side."""

CROP_SHARES = (0.35, 1.0)
"""Of a photograph's area, in a random crop for training: milder than the usual 0.08, which suits long trainings."""

CROP_RATIOS = (3 / 4, 4 / 3)
_TRIES = 10
_BILINEAR = Image.Resampling.BILINEAR

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Fit:
    """Resize the short side, then cut out the centre: what ``torchvision.transforms`` Resize and CenterCrop do.

    Attributes:
        crop: side of the square that networks see, in pixels.
        resize: what the short side is resized to, in pixels; at least ``crop``.
    """

    crop: int
    resize: int

    @classmethod
    def of(cls, image_size: int | None, resize: int | None) -> Fit | None:
        """From options; None where photographs are to stay as they are.

        Raises:
            OptionError: a side is out of range, or ``resize`` stands without ``image_size`` or below it.
        """
        for name, side in (("image-size", image_size), ("resize", resize)):
            if side is not None and (isinstance(side, bool) or not isinstance(side, int)):
                raise OptionError(f"{name} must be a whole number of pixels, got {side!r}")
            if side is not None and not SMALLEST <= side <= LARGEST:
                raise OptionError(f"{name} must be {SMALLEST} to {LARGEST} pixels, got {side}")
        if image_size is None:
            if resize is not None:
                raise OptionError(f"resize goes with image-size, the side that is cut out of it: got resize {resize}")
            return None
        if resize is not None and resize < image_size:
            raise OptionError(f"resize must be at least the image-size of {image_size}, got {resize}")
        return cls(image_size, image_size if resize is None else resize)

    def __str__(self) -> str:
        first = "" if self.resize == self.crop else f"short side {self.resize}, "
        return f"{first}{self.crop}x{self.crop}"

    def centred(self, image: Image.Image) -> Pixels:
        """(crop, crop, 3) pixels of an opened image."""
        image = self._upright(image, self.resize)
        width, height = image.size
        short = min(width, height)
        size = (self.resize * width // short, self.resize * height // short)
        if image.size != size:
            image = image.resize(size, _BILINEAR)
        left, top = (round((side - self.crop) / 2.0) for side in size)
        return np.array(image.crop((left, top, left + self.crop, top + self.crop)))

    def random(self, image: Image.Image, rng: np.random.Generator) -> Pixels:
        """(crop, crop, 3) pixels of a random part, as torchvision's RandomResizedCrop draws it."""
        image = self._upright(image, math.ceil(self.crop / math.sqrt(CROP_SHARES[0])))
        box = _box(image.size, rng)
        return np.array(image.resize((self.crop, self.crop), _BILINEAR, box=box))

    def _upright(self, image: Image.Image, side: int) -> Image.Image:
        """Upright; a JPEG of more than four times the pixels of ``side`` is read at half or less, which is faster."""
        draft: Any = image.draft("RGB", (2 * side, 2 * side))
        del draft  # the image itself is changed, where it can be
        return upright(image)


def _box(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random part; the whole centre where ten draws do not fit."""
    width, height = size
    low, high = math.log(CROP_RATIOS[0]), math.log(CROP_RATIOS[1])
    for _ in range(_TRIES):
        area, ratio = width * height * rng.uniform(*CROP_SHARES), math.exp(rng.uniform(low, high))
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(rng.integers(0, width - wide + 1)), int(rng.integers(0, height - tall + 1))
            return left, top, left + wide, top + tall
    wide, tall = min(width, round(height * CROP_RATIOS[1])), min(height, round(width / CROP_RATIOS[0]))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall
