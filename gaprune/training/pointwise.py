"""Strided 1x1 convolutions of few channels, computed so that oneDNN does not write beyond its memory.

oneDNN's gradient of such weights overruns its workspace where images lie channels last: the process dies, hangs or
learns from wrong gradients (docs/explanation/onednn.md). A strided 1x1 convolution reads every other pixel, so taking
those pixels first leaves one of stride 1, which has another way through the library, in any memory format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

BLOCK = 16
"""Channels that oneDNN's widest vectors hold (AVX-512, float32; AVX2 holds 8): below them its gradients overrun."""

CONVOLUTIONS: frozenset[Callable[..., Tensor]] = frozenset((torch.conv1d, torch.conv2d))

Numbers = int | Sequence[int]


class PixelsFirst(TorchFunctionMode):
    """Makes strided 1x1 convolutions of fewer than ``BLOCK`` channels whose weights learn take their pixels first.

    Modules and functional calls alike, on the CPU. Their results are the same but for rounding.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, a convolution perhaps on other pixels."""
        if func in CONVOLUTIONS:
            return _convolved(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolved(
    convolution: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    axes = weight.ndim - 2
    strides, padded = _each(stride, axes), padding != "valid" and any(_each(padding, axes))
    if max(strides) > 1 and not padded and overruns(weight):
        read: tuple[Any, ...] = (..., *(slice(None, None, step) for step in strides))
        input, stride = input[read], 1
    return convolution(input, weight, bias, stride, padding, dilation, groups)


def overruns(weight: Tensor) -> bool:
    """Whether a strided convolution with these weights, (out, in, ...), has a gradient that may overrun."""
    return (
        weight.requires_grad
        and weight.device.type == "cpu"
        and weight.shape[1] < BLOCK
        and all(size == 1 for size in weight.shape[2:])
    )


def _each(given: Numbers | str, axes: int) -> tuple[Any, ...]:
    """A number for each axis; a word, of padding other than none, as it is."""
    if isinstance(given, (int, str)):
        return (given,) * axes
    return tuple(given) * axes if len(given) == 1 else tuple(given)
