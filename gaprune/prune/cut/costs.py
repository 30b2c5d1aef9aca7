"""FLOPs, parameters and size of a candidate by closed formula, without building it.

FLOPs are fvcore's for the compact network in eval mode on one image: a multiply-accumulate of a convolution
or linear layer, or of a product of two computed tensors, is one, batch norm takes two per element, layer and group norm
five, adaptive pooling one per input element. ``scaled_dot_product_attention``, of which fvcore knows nothing, counts as
its two products do where they are written out. Where free connection masks are in force each convolution's share is
scaled by its kept kernels.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.errors import ModelError, first_line
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, Layer, Neurons
from gaprune.prune.graph.inputs import Form, Inputs, flattened
from gaprune.prune.graph.modes import evaluating

ORDER_BYTES = 8
"""Bytes of one entry of a channel order that a grouped convolution stores (int64)."""


@dataclass(frozen=True)
class Costs:
    """What one candidate costs.

    Attributes:
        flops: for one image, as fvcore counts them (see the module's text).
        params: parameters; masked kernels not counted.
        size: bytes of all its tensors on disk, masked kernels included.
    """

    flops: int
    params: int
    size: int


class CostModel:
    """Closed formulas for one network.

    Args:
        model: the original network; only shapes are read.
        graph: its pruning graph.
        constant_flops: FLOPs of calls that pruning never touches and the formula does not know.
    """

    def __init__(self, model: nn.Module, graph: Graph, constant_flops: int = 0) -> None:
        self._constant = constant_flops
        axes = _Axes()
        self._layers = [
            (layer, axes.place(layer.outputs), axes.place(layer.inputs), axes.places(layer.along))
            for layer in graph.layers
        ]
        self._counted = [(axes.places(one.axes), one.factor) for one in graph.counted]
        self._convolutions = {layer.weight: layer for layer in graph.convolutions()}
        self._kernel_taps = {layer.weight: layer.kernel for layer in graph.layers if layer.convolution}
        parameters = dict(model.named_parameters())
        state = {**parameters, **dict(model.named_buffers())}
        self._tensors = [
            _Stored(name, _whole(tensor, graph.axes.get(name)), tensor.element_size(), name in parameters, places)
            for name, tensor in state.items()
            for places in [axes.places(one for one in graph.axes.get(name, ()) if one is not None)]
        ]
        self._widths = axes.widths()

    def __call__(self, masks: Masks) -> Costs:
        """The costs of one candidate."""
        widths = self._widths(masks)
        return Costs(self._flops(masks, widths), *self._storage(masks, widths))

    def flops(self, masks: Masks) -> int:
        """FLOPs of one image."""
        return self._flops(masks, self._widths(masks))

    def _flops(self, masks: Masks, widths: list[int]) -> int:
        found = self._constant + sum(_product(widths, places) * factor for places, factor in self._counted)
        for layer, outputs, inputs, along in self._layers:
            if layer.weight in masks.kernels or layer.weight in masks.groupings:
                kernels = kept_kernels(layer, masks)
            elif layer.kind == "depthwise":
                kernels = widths[outputs]
            else:
                kernels = widths[outputs] * widths[inputs] // layer.groups
            found += kernels * layer.kernel * layer.positions * _product(widths, along)
        return found

    def _storage(self, masks: Masks, widths: list[int]) -> tuple[int, int]:
        params = size = 0
        for tensor in self._tensors:
            name = tensor.name
            stored = counted = tensor.uncut * _product(widths, tensor.places)
            if name in self._convolutions and (name in masks.kernels or name in masks.groupings):
                counted = kept_kernels(self._convolutions[name], masks) * self._kernel_taps[name]
            if name in masks.groupings:
                grouping = masks.groupings[name]
                stored = counted
                size += (len(grouping.inputs) + len(grouping.outputs)) * ORDER_BYTES
            size += stored * tensor.item
            params += counted if tensor.learned else 0
        return params, size


@dataclass(frozen=True)
class _Stored:
    """A tensor of the original.

    Attributes:
        name: of the parameter or buffer.
        uncut: elements along the axes that are never cut.
        item: bytes of an element.
        learned: whether it is a parameter.
        places: of the other axes' widths.
    """

    name: str
    uncut: int
    item: int
    learned: bool
    places: tuple[int, ...]


def _product(widths: list[int], places: tuple[int, ...]) -> int:
    return prod(widths[place] for place in places)


def _whole(tensor: torch.Tensor, axes: tuple[Neurons | None, ...] | None) -> int:
    cut = axes or (None,) * tensor.ndim
    return prod(length for length, neurons in zip(tensor.shape, cut, strict=True) if neurons is None)


class _Axes:
    """The axes that costs depend on, each that means the same neurons once: most layers share theirs with another."""

    def __init__(self) -> None:
        self._places: dict[tuple[tuple[int, ...], bytes], int] = {}
        self._distinct: list[Neurons] = []

    def places(self, axes: Iterable[Neurons]) -> tuple[int, ...]:
        """Of several axes."""
        return tuple(map(self.place, axes))

    def place(self, neurons: Neurons) -> int:
        """Of an axis, among the widths."""
        key = neurons.shape, neurons.tobytes()
        if key not in self._places:
            self._places[key] = len(self._distinct)
            self._distinct.append(neurons)
        return self._places[key]

    def widths(self) -> _Widths:
        """What counts all of them at once."""
        ends = np.cumsum([0, *(len(axis) for axis in self._distinct)])
        rows = [axis.reshape(len(axis), -1) for axis in self._distinct]
        widest = max((axis.shape[1] for axis in rows), default=1)
        padded = [np.pad(axis, ((0, 0), (0, widest - axis.shape[1])), constant_values=-1) for axis in rows]
        neurons = np.concatenate([*padded, np.empty((0, widest), dtype=np.int64)])
        return _Widths(neurons[:, 0] if widest == 1 else neurons, ends)


@dataclass(frozen=True)
class _Widths:
    """Counts what a candidate keeps of each axis.

    Attributes:
        neurons: (n,) or (n, k) of all axes, one after the other.
        ends: where each begins, and the last one's end.
    """

    neurons: Neurons
    ends: NDArray[np.int64]

    def __call__(self, masks: Masks) -> list[int]:
        """The kept width of each axis."""
        kept = masks.kept(self.neurons)
        below = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[self.ends]
        widths: list[int] = np.diff(below).tolist()
        return widths


def kept_kernels(layer: Layer, masks: Masks) -> int:
    """Number of kernels (input channel to output channel) that a layer keeps."""
    mask = masks.kernel_mask(layer)
    if mask is not None:
        return int(mask.sum())
    outputs = int(masks.kept(layer.outputs).sum())
    if layer.kind == "depthwise":
        return outputs
    return outputs * int(masks.kept(layer.inputs).sum()) // layer.groups


def count_flops(model: nn.Module, form: Form) -> int:
    """FLOPs of one (C, H, W) image, or of one sample of inputs, as fvcore counts them in eval mode.

    Raises:
        ModelError: fvcore cannot trace it.
    """
    parameter = next(model.parameters())
    try:
        with evaluating(model):
            if isinstance(form, Inputs):
                plain, tensors = flattened(model, form.first(1).like(parameter))
                return _fvcore_total(plain.eval(), tensors)
            image = torch.zeros((1, *form), dtype=parameter.dtype, device=parameter.device)
            return _fvcore_total(model, (image,))
    except Exception as error:  # of torch.jit's tracer, on a stranger's network
        raise ModelError(f"the FLOPs of {type(model).__name__} cannot be counted: {first_line(error)}") from error


def _fvcore_total(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """fvcore's total, without its own and torch's warnings: it still uses ``torch.jit``."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fvcore.nn import FlopCountAnalysis

            analysis = FlopCountAnalysis(model, inputs)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            return int(analysis.total())
    finally:
        logger.setLevel(level)


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Of softmax(q k^T) v: both products, one for each multiply-accumulate."""
    q, k, v = (list(value.type().sizes()) for value in inputs[:3])
    return int(prod(q) * k[-2] + prod(q[:-1]) * k[-2] * v[-1])


def cost_model(model: nn.Module, graph: Graph, form: Form) -> CostModel:
    """The formulas, with what only fvcore knows (calls that pruning never touches) as a constant."""
    formula = CostModel(model, graph).flops(Masks.full(graph))
    return CostModel(model, graph, count_flops(model, form) - formula)
