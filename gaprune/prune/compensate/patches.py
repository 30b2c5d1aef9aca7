"""Patches: what the output positions of a layer see of its input, (channels x taps), sampled over images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.prune.compensate.padding import Sides, padding_sides

BLOCK = 512
"""Rows of a product that are computed together, from the diagonal on: little more than half of it."""


@dataclass(frozen=True)
class PatchMoments:
    """Mean and covariance of a layer's patches, zero padding and stride as they are.

    Attributes:
        count: sampled output positions.
        mean: (in x taps,) in the network's type, as all that follows; the taps of a channel lie in a row.
        covariance: (in x taps, in x taps).
        damping: that predicts best on held-out images, relative to the mean variance.
    """

    count: int
    mean: Tensor
    covariance: Tensor
    damping: float


class PatchSums:
    """Sums over patches, accumulated in float64; products of one batch are in the network's type.

    Args:
        width: in x taps.
        device: of the sums.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.count = 0
        self._shift: Tensor | None = None  # near the mean, so that little cancels
        self._total = torch.zeros(width, dtype=torch.float64, device=device)
        self._products = torch.zeros((width, width), dtype=torch.float64, device=device)

    def add(self, rows: Tensor) -> None:
        """Add (n, in x taps) patches."""
        if self._shift is None:
            self._shift = rows.mean(0)
        centred = rows - self._shift
        self.count += len(rows)
        self._total += centred.sum(0, dtype=torch.float64)
        for start in range(0, len(self._total), BLOCK):
            stop = start + BLOCK
            self._products[start:stop, start:] += centred[:, start:stop].T @ centred[:, start:]

    def mean(self) -> Tensor:
        """(in x taps,) float64."""
        return self._total / self.count + (0.0 if self._shift is None else self._shift.double())

    def covariance(self) -> Tensor:
        """(in x taps, in x taps) float64."""
        offset = self._total / self.count
        upper = self._products.triu()
        return (upper + upper.triu(1).T) / self.count - torch.outer(offset, offset)


def taps_of(module: nn.Module) -> int:
    """Taps of one kernel; 1 for a linear layer."""
    return int(torch.tensor(module.kernel_size).prod()) if isinstance(module, nn.Conv2d) else 1


def pointwise(module: nn.Module) -> bool:
    """Whether a patch is one position's channels and every position is seen once: then patches tell nothing more."""
    if isinstance(module, nn.Linear):
        return True
    assert isinstance(module, nn.Conv2d)
    return taps_of(module) == 1 and set(module.stride) == {1} and not any(_sides(module))


def draw_positions(module: nn.Module, x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """(images, min(most, positions)) int64: output positions of each image, drawn without replacement.

    Args:
        module: a two-dimensional convolution or a linear layer.
        x: (images, C, H, W) or (images, ..., features), its input.
        most: positions of one image.
        generator: on the CPU, so that the draw does not depend on the device.
    """
    total = _positions(module, x)
    drawn = torch.rand((len(x), total), generator=generator).topk(min(most, total), dim=1).indices
    return drawn.to(x.device)


def patches_at(module: nn.Module, x: Tensor, positions: Tensor) -> Tensor:
    """(images x s, in x taps): the patches that the output positions ((images, s) int64) see of ``x``."""
    if not isinstance(module, nn.Conv2d):
        features = x.reshape(len(x), -1, x.shape[-1])
        return _taken(features, positions[:, :, None], 1).flatten(0, 1)
    padded = _padded(module, x)
    width = padded.shape[3]
    (kernel_h, kernel_w), (stride_h, stride_w), (dilation_h, dilation_w) = (
        _pair(module.kernel_size),
        _pair(module.stride),
        _pair(module.dilation),
    )
    across = (width - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
    corner = positions // across * stride_h * width + positions % across * stride_w
    rows = torch.arange(kernel_h, device=x.device) * dilation_h * width
    columns = torch.arange(kernel_w, device=x.device) * dilation_w
    places = (corner[:, :, None] + (rows[:, None] + columns).reshape(-1)).flatten(1)
    seen = _taken(padded.flatten(2), places[:, None, :], 2)
    shaped = seen.view(*x.shape[:2], positions.shape[1], -1)
    return shaped.transpose(1, 2).flatten(2).flatten(0, 1)


def outputs_at(module: nn.Module, y: Tensor, positions: Tensor) -> Tensor:
    """(images x s, out): a layer's output ``y`` at output positions ((images, s) int64)."""
    found = y.flatten(2).transpose(1, 2) if isinstance(module, nn.Conv2d) else y.reshape(len(y), -1, y.shape[-1])
    return _taken(found, positions[:, :, None], 1).flatten(0, 1)


def _taken(values: Tensor, places: Tensor, dim: int) -> Tensor:
    """``torch.take_along_dim`` for places that are none below 0, without a copy of them for every channel."""
    shape = [-1 if axis == dim else size for axis, size in enumerate(values.shape)]
    return values.gather(dim, places.expand(shape))


def _positions(module: nn.Module, x: Tensor) -> int:
    if not isinstance(module, nn.Conv2d):
        return x[0].numel() // x.shape[-1]
    sizes = _padded(module, x[:1]).shape[2:]
    windows = zip(sizes, _pair(module.kernel_size), _pair(module.stride), _pair(module.dilation), strict=True)
    high, wide = ((size - d * (k - 1) - 1) // s + 1 for size, k, s, d in windows)
    return int(high * wide)


def _padded(module: nn.Conv2d, x: Tensor) -> Tensor:
    sides = _sides(module)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, sides, mode=mode) if any(sides) else x


def _sides(module: nn.Conv2d) -> Sides:
    sides = padding_sides(module)
    assert sides is not None, "only layers that are convolutions are looked into"
    return sides


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    high, wide = value
    return high, wide
