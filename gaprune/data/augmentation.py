"""Random crops and mirror images, made on the device that holds the images."""

from __future__ import annotations

import torch
from torch import Tensor

from gaprune.errors import OptionError


def augment(
    images: Tensor,
    *,
    generator: torch.Generator,
    pad: int = 4,
    flip: bool = True,
    cutout: int = 0,
    fill: Tensor | None = None,
) -> Tensor:
    """A randomly shifted and mirrored copy of every image, each drawn on its own.

    The same as padding by reflection, cutting out a random window of the old size and mirroring it left to
    right with probability one half, but done as one gather of pixels. Last, a square may be blotted out
    (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        images: (N, C, H, W) uint8.
        generator: source of the draws, on the images' device.
        pad: largest shift in pixels, in both directions; 0 shifts nothing.
        flip: whether images may be mirrored.
        cutout: side of the square, whose centre is any pixel; 0 blots nothing out.
        fill: (C,) uint8 of the blotted pixels, on the same device; black by default.

    Returns:
        (N, C, H, W) uint8, on the same device.

    Raises:
        OptionError: ``pad`` is negative or not below the height and width, or ``cutout`` is negative.
    """
    count, channels, height, width = images.shape
    if not 0 <= pad < min(height, width):
        raise OptionError(f"pad must be 0 to {min(height, width) - 1} for images of {height}x{width} pixels, got {pad}")
    shifts = torch.randint(-pad, pad + 1, (2, count, 1), generator=generator, device=images.device, dtype=torch.int64)
    rows = _reflect(torch.arange(height, device=images.device) + shifts[0], height)
    columns = _reflect(torch.arange(width, device=images.device) + shifts[1], width)
    if flip:
        mirrored = torch.rand((count, 1), generator=generator, device=images.device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    pixels = rows[:, :, None] * width + columns[:, None, :]
    sources = pixels.view(count, 1, height * width).expand(count, channels, height * width)
    shown = images.reshape(count, channels, height * width).gather(2, sources).view_as(images)
    if cutout == 0:
        return shown
    if cutout < 0:
        raise OptionError(f"cutout must be at least 0, got {cutout}")
    square = _square(shown, cutout, generator)
    return shown.masked_fill(square, 0) if fill is None else torch.where(square, fill.view(1, channels, 1, 1), shown)


def _square(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(N, 1, H, W) bool: a square of each image about a pixel of its own, cut off at the edges."""
    inside = []
    for size in images.shape[2:]:
        first = torch.randint(0, size, (len(images), 1), generator=generator, device=images.device) - side // 2
        place = torch.arange(size, device=images.device)
        inside.append((place >= first) & (place < first + side))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1 mirrored back at the edge pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()
