"""How much each neuron and each connection is worth keeping, before any search.

One replaceable function: (model, graph, statistics, kernels=False) -> ``Importance``. Larger is more worth keeping;
values are compared within a channel group or a convolution only. Names are resolved in ``registry.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaprune.genome import Floats
from gaprune.progress import SILENT, Reporter
from gaprune.prune.compensate.statistics import Statistics
from gaprune.prune.graph.graph import Graph
from gaprune.prune.graph.tensors import state_tensors


@dataclass(frozen=True)
class Importance:
    """Scores of all genes.

    Attributes:
        neurons: (n,) float64.
        kernels: by weight name, (out, in) float64 of each dense convolution, comparable across its rows. L2 norms; from
            ``obs`` with ``kernels=True`` the error that a kernel adds to its row when its turn comes, the others making
            up for it, as a share of the layer's output energy, never falling along a row's order; random ones from
            ``random``.
        errors: (n,) float64, relative output error that a neuron's removal adds when its turn comes (by rising
            worth), comparable across groups; ``None`` where nothing is known of it.
    """

    neurons: Floats
    kernels: dict[str, Floats]
    errors: Floats | None = None


def l2(
    model: nn.Module,
    graph: Graph,
    statistics: object = None,
    *,
    kernels: bool = False,
    reporter: Reporter = SILENT,
) -> Importance:
    """L2 norm of a neuron's incoming weights (Li et al. 2017, with L2), each layer's mean scaled to 1.

    Where an output needs two neurons (a head, and a feature of all heads), it counts for both.
    """
    tensors = state_tensors(model)
    total = np.zeros(graph.neurons)
    for layer in {layer.weight: layer for layer in graph.layers if layer.produces}.values():
        outputs = graph.axes[layer.weight][1 - layer.input_axis]  # of all that the weight is a part of
        if outputs is not None:
            rows = tensors[layer.weight].transpose(0, 1 - layer.input_axis)
            _add_scaled(total, outputs, rows.flatten(1).double().norm(dim=1))
    return Importance(total, kernel_norms(model, graph))


def bn(
    model: nn.Module,
    graph: Graph,
    statistics: object = None,
    *,
    kernels: bool = False,
    reporter: Reporter = SILENT,
) -> Importance:
    """Absolute batch-norm scale of a neuron (Liu et al. 2017), each layer's mean scaled to 1.

    Neurons that no batch norm follows take their L2 norm.
    """
    total = np.zeros(graph.neurons)
    without = np.ones(graph.neurons, dtype=np.bool_)
    for path, module in model.named_modules():
        axes = graph.axes.get(f"{path}.weight")
        if isinstance(module, _BatchNorm) and axes is not None and axes[0] is not None:
            _add_scaled(total, axes[0], module.weight.detach().double().abs())
            without[axes[0][axes[0] >= 0]] = False
    total[without] = l2(model, graph).neurons[without]
    return Importance(total, kernel_norms(model, graph))


def random(
    model: nn.Module,
    graph: Graph,
    statistics: object = None,
    *,
    kernels: bool = False,
    reporter: Reporter = SILENT,
) -> Importance:
    """Worth that means nothing, always the same: the control for informed operators."""
    rng = np.random.default_rng(0)
    found = {layer.weight: rng.random((len(layer.outputs), len(layer.inputs))) for layer in graph.convolutions()}
    return Importance(rng.random(graph.neurons), found)


def taylor(
    model: nn.Module,
    graph: Graph,
    statistics: Statistics,
    *,
    kernels: bool = False,
    reporter: Reporter = SILENT,
) -> Importance:
    """Mean squared change of the loss, to first order, without a neuron (taylor.py), each group's mean scaled to 1.

    Raises:
        ValueError: the statistics were collected without it.
    """
    if statistics.taylor is None:
        raise ValueError("importance 'taylor' needs statistics with taylor scores, and these have none")
    worth = np.nan_to_num(statistics.taylor)
    for group in graph.groups:
        mean = worth[group.slice].mean()
        worth[group.slice] /= mean if mean > 0 else 1.0
    return Importance(worth, kernel_norms(model, graph))


def kernel_norms(model: nn.Module, graph: Graph) -> dict[str, NDArray[np.float64]]:
    """L2 norm of every kernel of every dense convolution, (out, in) by weight name."""
    tensors = state_tensors(model)
    return {
        layer.weight: tensors[layer.weight].flatten(2).double().norm(dim=2).cpu().numpy()
        for layer in graph.convolutions()
    }


def _add_scaled(total: Floats, neurons: NDArray[np.int64], values: Tensor) -> None:
    scores = torch.nan_to_num(values).cpu().numpy()
    mean = scores.mean()
    for column in neurons.reshape(len(neurons), -1).T:
        ours = column >= 0
        np.add.at(total, column[ours], scores[ours] / (mean if mean > 0 else 1.0))
