"""One image file as upright RGB pixels of 8 bits, whatever mode it was saved in."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

SIXTEEN_BITS = 257
"""65,535 / 255: white of 16 bits over white of 8."""

_EIGHT_BITS = 255


class UnknownModeError(ValueError):
    """Pixels that stand for no brightness that is known."""


def upright(image: Image.Image) -> Image.Image:
    """An opened image as RGB: turned as its EXIF orientation says, grey repeated, ink and palettes resolved.

    Transparency is dropped, as torchvision's ``ImageFolder`` drops it; 16 bits are scaled to 8.

    Raises:
        UnknownModeError: the pixels are floating-point numbers.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _from_sixteen_bits(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    turned = ImageOps.exif_transpose(image)
    return turned if turned.mode == "RGB" else turned.convert("RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnknownModeError("pixels of mode F: only 8 or 16 bits per channel are read")
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > SIXTEEN_BITS * _EIGHT_BITS:
        raise UnknownModeError(f"pixels of mode {image.mode} beyond 16 bits: only 8 or 16 bits per channel are read")
    scaled = (levels.astype(np.int64) + SIXTEEN_BITS // 2) // SIXTEEN_BITS
    made = Image.fromarray(scaled.astype(np.uint8))
    made.info = image.info
    return made
