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
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from gaprune.errors import ModelError, first_line
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, Layer, Neurons
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
        self._graph = graph
        self._constant = constant_flops
        self._kernel_taps = {layer.weight: layer.kernel for layer in graph.layers if layer.convolution}
        parameters = dict(model.named_parameters())
        state = {**parameters, **dict(model.named_buffers())}
        self._tensors = [
            (name, tuple(tensor.shape), tensor.element_size(), name in parameters) for name, tensor in state.items()
        ]

    def __call__(self, masks: Masks) -> Costs:
        """The costs of one candidate."""
        return Costs(self.flops(masks), *self._storage(masks))

    def flops(self, masks: Masks) -> int:
        """FLOPs of one image."""
        layers = sum(
            kept_kernels(layer, masks) * layer.kernel * layer.positions * _indices(layer.along, masks)
            for layer in self._graph.layers
        )
        counted = sum(_indices(one.axes, masks) * one.factor for one in self._graph.counted)
        return layers + counted + self._constant

    def _storage(self, masks: Masks) -> tuple[int, int]:
        params = size = 0
        layers = {layer.weight: layer for layer in self._graph.convolutions()}
        for name, shape, item, learned in self._tensors:
            stored = counted = self._elements(name, shape, masks)
            if name in layers and masks.kernel_mask(layers[name]) is not None:
                counted = kept_kernels(layers[name], masks) * self._kernel_taps[name]
            if name in masks.groupings:
                grouping = masks.groupings[name]
                stored = counted
                size += (len(grouping.inputs) + len(grouping.outputs)) * ORDER_BYTES
            size += stored * item
            params += counted if learned else 0
        return params, size

    def _elements(self, name: str, shape: tuple[int, ...], masks: Masks) -> int:
        axes = self._graph.axes.get(name)
        if axes is None:
            return prod(shape)
        return prod(
            length if neurons is None else int(masks.kept(neurons).sum())
            for length, neurons in zip(shape, axes, strict=True)
        )


def _indices(axes: tuple[Neurons, ...], masks: Masks) -> int:
    """How many indices of several axes together are kept."""
    return prod(int(masks.kept(axis).sum()) for axis in axes)


def kept_kernels(layer: Layer, masks: Masks) -> int:
    """Number of kernels (input channel to output channel) that a layer keeps."""
    mask = masks.kernel_mask(layer)
    if mask is not None:
        return int(mask.sum())
    outputs = int(masks.kept(layer.outputs).sum())
    if layer.kind == "depthwise":
        return outputs
    return outputs * int(masks.kept(layer.inputs).sum()) // layer.groups


def count_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """FLOPs of one (C, H, W) image as fvcore counts them, by tracing ``model`` in eval mode.

    Raises:
        ModelError: fvcore cannot trace it.
    """
    parameter = next(model.parameters())
    image = torch.zeros((1, *image_shape), dtype=parameter.dtype, device=parameter.device)
    try:
        with evaluating(model):
            return _fvcore_total(model, image)
    except Exception as error:  # of torch.jit's tracer, on a stranger's network
        raise ModelError(f"the FLOPs of {type(model).__name__} cannot be counted: {first_line(error)}") from error


def _fvcore_total(model: nn.Module, image: torch.Tensor) -> int:
    """fvcore's total, without its own and torch's warnings: it still uses ``torch.jit``."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fvcore.nn import FlopCountAnalysis

            analysis = FlopCountAnalysis(model, image)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            return int(analysis.total())
    finally:
        logger.setLevel(level)


def _attention_flops(inputs: list[Any], outputs: list[Any]) -> int:
    """Of softmax(q k^T) v: both products, one for each multiply-accumulate."""
    q, k, v = (list(value.type().sizes()) for value in inputs[:3])
    return int(prod(q) * k[-2] + prod(q[:-1]) * k[-2] * v[-1])


def cost_model(model: nn.Module, graph: Graph, image_shape: tuple[int, int, int]) -> CostModel:
    """The formulas, with what only fvcore knows (calls that pruning never touches) as a constant."""
    formula = CostModel(model, graph).flops(Masks.full(graph))
    return CostModel(model, graph, count_flops(model, image_shape) - formula)
