"""Random crops and mirror images, made on the device that holds the images."""

from __future__ import annotations

import torch
from torch import Tensor

from gaprune.errors import OptionError


def augment(images: Tensor, *, generator: torch.Generator, pad: int = 4, flip: bool = True) -> Tensor:
    """A randomly shifted and mirrored copy of every image, each drawn on its own.

    The same as padding by reflection, cutting out a random window of the old size and mirroring it left to
    right with probability one half, but done as one gather of pixels.

    Args:
        images: (N, C, H, W) uint8.
        generator: source of the draws, on the images' device.
        pad: largest shift in pixels, in both directions; 0 shifts nothing.
        flip: whether images may be mirrored.

    Returns:
        (N, C, H, W) uint8, on the same device.

    Raises:
        OptionError: ``pad`` is negative or not below the height and width.
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
    return images.reshape(count, channels, height * width).gather(2, sources).view_as(images)


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Positions outside 0..size-1 mirrored back at the edge pixel, which is not repeated."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()
