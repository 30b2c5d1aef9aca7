"""Times of single layers at a grid of widths: what a network takes, told without building it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.device import pinned
from gaprune.runtimes.latency import Conditions
from gaprune.runtimes.prepared import COMPILE, TORCH, prepared
from gaprune.runtimes.stopwatch import time_calls

Floats = NDArray[np.float64]

SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Of a layer's width, at which it is timed; the first is one step."""

STEPS = (1, 8, 16, 32)
"""Widths that kernels may work in multiples of."""

PATIENCE = 0.1
"""Seconds a point of the grid: the correction takes the noise of single layers."""


@dataclass(frozen=True)
class Shape:
    """What the time of a layer depends on, but for its widths.

    Attributes:
        inputs: its input channels or features before pruning.
        outputs: its output channels or features before pruning.
        size: (height, width) of its input maps; (1, 1) of a linear layer.
        kernel: (height, width) of a kernel.
        stride: likewise.
        padding: likewise.
        dilation: likewise.
        linear: whether it is a linear layer.
        depthwise: whether inputs and outputs are the same channels.
    """

    inputs: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    linear: bool = False
    depthwise: bool = False

    def layer(self, inputs: int, outputs: int) -> tuple[nn.Module, tuple[int, ...]]:
        """Such a layer of other widths, with the activation that follows, and the shape of one sample's input."""
        if self.linear:
            return nn.Linear(inputs, outputs).eval(), (inputs,)
        convolution = nn.Conv2d(
            inputs,
            outputs,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            groups=inputs if self.depthwise else 1,
        )
        return nn.Sequential(convolution, nn.ReLU()).eval(), (inputs, *self.size)


@dataclass(frozen=True)
class Grid:
    """Seconds of one layer at some widths.

    Attributes:
        inputs: widths of its input, rising.
        outputs: widths of its output, rising.
        seconds: by input, then output.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]

    def at(self, inputs: float, outputs: float) -> float:
        """Interpolated between the four points around; exact for what is bilinear in the widths."""
        rows = [float(np.interp(outputs, self.outputs, row)) for row in self.seconds]
        return float(np.interp(inputs, self.inputs, rows))


def grid_widths(width: int, step: int, fixed: bool) -> tuple[int, ...]:
    """The widths that an axis is timed at.

    Args:
        width: before pruning.
        step: widths come in multiples of it.
        fixed: whether it never changes.

    >>> grid_widths(64, 8, fixed=False)
    (8, 16, 32, 48, 64)
    """
    if fixed:
        return (width,)
    found = {min(width, max(step, round(share * width / step) * step)) for share in SHARES}
    return tuple(sorted(found))
