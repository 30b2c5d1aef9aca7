"""Times of single layers at a grid of widths: what a network takes, told without building it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from gaprune.device import pinned
from gaprune.prune import Graph, Layer, Masks, WidthFlops
from gaprune.runtimes.latency import Conditions, Latency, Stopwatch, alone
from gaprune.runtimes.layer_files import layer_call
from gaprune.runtimes.prepared import COMPILE, TORCH
from gaprune.runtimes.stopwatch import time_calls

Floats = NDArray[np.float64]

SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""Of a layer's width, at which it is timed; the first is one step."""

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

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Grid:
        """From JSON values."""
        inputs, outputs = tuple(record["inputs"]), tuple(record["outputs"])
        return cls(inputs, outputs, tuple(tuple(row) for row in record["seconds"]))

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
    return tuple(sorted({*found, width}))


def shapes_of(network: nn.Module, layers: Sequence[Layer], images: Tensor) -> list[Shape | None]:
    """What the time of each layer depends on, from one pass.

    Args:
        network: in eval mode, its layers at the paths that the graph has.
        layers: of the graph, in order of computation.
        images: one batch.

    Returns:
        One shape a layer; ``None`` for one that a table does not know (a grouped one, one that no module makes).
    """
    modules, sizes = dict(network.named_modules()), dict[str, tuple[int, int]]()
    hooks = []
    for name in {layer.name for layer in layers}:
        if isinstance(modules.get(name), (nn.Conv2d, nn.Linear)):

            def note(module: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                sizes[name] = (given[0].shape[-2], given[0].shape[-1]) if given[0].ndim == 4 else (1, 1)

            hooks.append(modules[name].register_forward_pre_hook(note))
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [_shape(modules.get(layer.name), layer, sizes.get(layer.name)) for layer in layers]


def _shape(module: nn.Module | None, layer: Layer, size: tuple[int, int] | None) -> Shape | None:
    if size is None or layer.kind == "grouped":
        return None
    if isinstance(module, nn.Linear):
        return Shape(len(layer.inputs), len(layer.outputs), (1, 1), linear=True)
    if not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return None
    height, width = module.kernel_size
    return Shape(
        len(layer.inputs),
        len(layer.outputs),
        size,
        (height, width),
        (module.stride[0], module.stride[1]),
        (module.padding[0], module.padding[1]),
        (module.dilation[0], module.dilation[1]),
        depthwise=layer.kind == "depthwise",
    )


def time_grid(shape: Shape, fixed: tuple[bool, bool], step: int, conditions: Conditions) -> Grid:
    """Time a layer by itself at a grid of widths, all points in turn.

    Args:
        shape: of the layer.
        fixed: whether its inputs, and its outputs, never change.
        step: widths come in multiples of it.
        conditions: runtime (compiled layers are timed as PyTorch's: the correction takes the rest), batch, threads.
    """
    device = torch.device(conditions.device)
    inputs = grid_widths(shape.inputs, step, fixed[0])
    outputs = (shape.outputs,) if shape.depthwise else grid_widths(shape.outputs, step, fixed[1])
    runtime = TORCH if conditions.runtime == COMPILE else conditions.runtime
    with alone(), pinned(conditions.threads):
        calls = [
            layer_call(
                layer.to(device), torch.randn(conditions.batch, *form, device=device), runtime, conditions.threads
            )
            for layer, form in (shape.layer(i, i if shape.depthwise else o) for i in inputs for o in outputs)
        ]
        seconds = np.array([one.seconds for one in time_calls(calls, device, patience=PATIENCE)])
    table = seconds.reshape(len(inputs), len(outputs))
    return Grid(inputs, outputs, tuple(tuple(row) for row in table.tolist()))


@dataclass(frozen=True)
class Correction:
    """How a whole network's time follows from its layers': ``fixed + factor * layers + moved * elements``.

    Attributes:
        fixed: seconds of what no width changes.
        factor: of the summed times of single layers.
        moved: seconds an element of an output map, which activations, additions and pooling read and write.
        error: median share by which networks that it was not made from are missed.
    """

    fixed: float
    factor: float
    moved: float
    error: float

    def seconds(self, layers: float, elements: float) -> float:
        """Of a network."""
        return self.fixed + self.factor * layers + self.moved * elements


def fit_correction(layers: Floats, elements: Floats, seconds: Floats, held_out: int) -> Correction:
    """The correction that least squares of shares of the measured times give, none of its parts negative.

    Args:
        layers: (n,) summed times of single layers.
        elements: (n,) elements of output maps.
        seconds: (n,) of the whole networks.
        held_out: the last so many only say how large the error is.
    """
    scale = max(float(elements.max()), 1.0)
    terms = np.stack([np.ones_like(layers), layers, elements / scale], axis=1)
    used = slice(0, len(seconds) - held_out)
    fixed, factor, moved = nnls(terms[used] / seconds[used, None], np.ones(len(seconds) - held_out))[0]
    found = Correction(float(fixed), float(factor), float(moved) / scale, 0.0)
    told = np.array([found.seconds(a, b) for a, b in zip(layers, elements, strict=True)])
    unseen = slice(len(seconds) - held_out, None)
    error = float(np.median(np.abs(told / seconds - 1)[unseen]))
    return Correction(found.fixed, found.factor, found.moved, error)


class TableClock:
    """A clock that looks up: no network is built, and the same one takes the same time.

    Args:
        stopwatch: whose conditions and original are meant; it times the front's members.
        layers: of the graph.
        grids: one a layer, ``None`` for those that the correction alone knows.
        correction: from layers to networks.
    """

    counts = True

    def __init__(
        self, stopwatch: Stopwatch, layers: Sequence[Layer], grids: Sequence[Grid | None], correction: Correction
    ) -> None:
        self.stopwatch = stopwatch
        self.conditions, self.reference = stopwatch.conditions, stopwatch.reference
        self.grids, self.correction = tuple(grids), correction
        self._layers = tuple(layers)

    def __call__(self, masks: Any, network: Callable[[], nn.Module]) -> Latency:
        """See ``Clock``; the interval is the correction's error."""
        share = self.share(masks)
        seconds = share * self.reference
        error = self.correction.error * seconds
        return Latency(seconds, seconds - error, seconds + error, share)

    def share(self, masks: Masks) -> float:
        """Of the original's time."""
        return self.correction.seconds(*sums(self._layers, self.grids, masks)) / self.reference

    def record(self) -> dict[str, Any]:
        """The table as JSON values."""
        return {
            "grids": [None if grid is None else asdict(grid) for grid in self.grids],
            "correction": asdict(self.correction),
        }


def from_record(stopwatch: Stopwatch, layers: Sequence[Layer], record: Mapping[str, Any]) -> TableClock:
    """The clock that ``TableClock.record`` described."""
    grids = [None if one is None else Grid.of(one) for one in record["grids"]]
    return TableClock(stopwatch, layers, grids, Correction(**record["correction"]))


def sums(layers: Sequence[Layer], grids: Sequence[Grid | None], masks: Masks) -> tuple[float, float]:
    """Summed seconds of single layers, and elements of all output maps of one image."""
    seconds = elements = 0.0
    for layer, grid in zip(layers, grids, strict=True):
        outputs = int(masks.kept(layer.outputs).sum())
        elements += outputs * layer.positions
        if grid is not None:
            seconds += grid.at(int(masks.kept(layer.inputs).sum()), outputs)
    return seconds, elements


class WidthSeconds(WidthFlops):
    """Seconds of a network as a function of the widths of its channel groups, for the ladder to walk by.

    Args:
        graph: the pruning graph.
        clock: of the network.
    """

    def __init__(self, graph: Graph, clock: TableClock) -> None:
        super().__init__(graph)
        self._clock, self._layers = clock, graph.layers
        self._positions = np.array([layer.positions for layer in graph.layers], dtype=np.float64)
        ones = np.ones(len(graph.groups) + 1)
        _, into = self._side("inputs", self._into, ones)
        _, out = self._side("outputs", self._out, ones)
        self._touched = [np.flatnonzero((into[:, g] > 0) | (out[:, g] > 0)) for g in range(len(graph.groups))]
        self._sizes = np.array([group.size for group in graph.groups], dtype=np.float64)

    def total(self, widths: Floats) -> float:
        """Seconds at (groups,) widths."""
        return self._clock.correction.fixed + float(self._seconds(widths, np.arange(len(self._layers))).sum())

    def saving(self, widths: Floats) -> Floats:
        """(groups,) seconds that a neuron less of each group saves, over a sixteenth of it: steps are evened out."""
        found = np.zeros(len(widths))
        for group, touched in enumerate(self._touched):
            reach = min(max(1.0, self._sizes[group] // 16), max(widths[group] - 1, 0.0))
            if reach > 0:
                less = widths.copy()
                less[group] -= reach
                saved = self._seconds(widths, touched).sum() - self._seconds(less, touched).sum()
                found[group] = max(float(saved), 0.0) / reach
        return found

    def _seconds(self, widths: Floats, layers: NDArray[np.int64]) -> Floats:
        """(layers,) corrected seconds of some layers."""
        whole = np.append(widths, 1.0)
        inputs = self._side("inputs", self._into, whole)[0][layers]
        outputs = self._side("outputs", self._out, whole)[0][layers]
        grids = [self._clock.grids[number] for number in layers]
        alone = [
            0.0 if grid is None else grid.at(outs if self._layers[number].kind == "depthwise" else ins, outs)
            for number, grid, ins, outs in zip(layers, grids, inputs, outputs, strict=True)
        ]
        correction = self._clock.correction
        found: Floats = correction.factor * np.array(alone) + correction.moved * outputs * self._positions[layers]
        return found
