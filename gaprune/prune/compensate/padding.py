"""What a convolution pads its input with, whoever wrote its forward pass.

Networks that come from TensorFlow pad "same": their convolutions are subclasses of ``nn.Conv2d`` whose own ``forward``
pads, often by one more on the right than on the left. Such a layer is a plain convolution of a padded input all the
same. Whether one is, and of which padding, is tried out.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sides = tuple[int, int, int, int]
"""Left, right, top, bottom, as ``F.pad`` takes them."""

TRIED_SIZES = (8, 9)
"""Maps that an own forward pass is tried on: padding may depend on whether a stride divides the size."""

TOLERANCE = 1e-4


def padding_sides(module: nn.Conv2d) -> Sides | None:
    """The padding of a layer that is a convolution of its padded input; ``None`` for one that does anything else."""
    if type(module).forward is nn.Conv2d.forward:
        left, right, top, bottom = module._reversed_padding_repeated_twice  # resolves "same" and "valid"
        return left, right, top, bottom
    if module.padding_mode != "zeros":
        return None
    found = set.intersection(*(_fitting(module, size) for size in TRIED_SIZES))
    return min(found, default=None)


def is_linear(module: nn.Linear) -> bool:
    """Whether a layer does what ``nn.Linear`` does."""
    if type(module).forward is nn.Linear.forward:
        return True
    x = _example(module.weight, (2, module.in_features))
    with torch.no_grad():
        return _equal(_called(module, x), F.linear(x, module.weight, module.bias))


def _fitting(module: nn.Conv2d, size: int) -> set[Sides]:
    """The paddings with which a plain convolution gives what the layer gives on a map of about ``size`` x ``size``."""
    strides, dilations = module.stride, module.dilation
    reaches = [d * (kernel - 1) + 1 for kernel, d in zip(module.kernel_size, dilations, strict=True)]
    high, wide = (size + reach - 1 for reach in reaches)
    x = _example(module.weight, (2, module.in_channels, high, wide))
    with torch.no_grad():
        wanted = _called(module, x)
        if wanted is None or wanted.ndim != 4:
            return set()
        rows = _candidates(high, wanted.shape[2], reaches[0], strides[0])
        columns = _candidates(wide, wanted.shape[3], reaches[1], strides[1])
        return {
            (*across, *down)
            for down, across in itertools.product(rows, columns)
            if _equal(wanted, _padded_convolution(module, F.pad(x, (*across, *down))))
        }


def _padded_convolution(module: nn.Conv2d, x: Tensor) -> Tensor:
    settings: Any = module
    return F.conv2d(x, module.weight, module.bias, settings.stride, 0, settings.dilation, module.groups)


def _candidates(size: int, out: int, reach: int, stride: int) -> list[tuple[int, int]]:
    """Before and after: halves of every padding that gives ``out`` positions, the odd one on either side."""
    least = (out - 1) * stride + reach - size
    totals = range(max(least, 0), max(least + stride, 0))
    pairs = {(total // 2, total - total // 2): None for total in totals}
    pairs |= {(total - total // 2, total // 2): None for total in totals}
    return list(pairs)


def _called(module: nn.Module, x: Tensor) -> Tensor | None:
    """What its own forward pass gives, without its hooks; ``None`` where that fails or is no tensor."""
    try:
        found = type(module).forward(module, x)
    except Exception:  # a stranger's forward pass may raise anything
        return None
    return found if isinstance(found, Tensor) else None


def _equal(found: Tensor | None, wanted: Tensor) -> bool:
    if found is None or found.shape != wanted.shape:
        return False
    scale = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    return bool(((found - wanted).abs().max() / scale) <= TOLERANCE)


def _example(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers that always are the same, of the type and on the device of ``like``."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(like.device, like.dtype)
