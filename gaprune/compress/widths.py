"""Networks with fewer filters, chosen without a search: by L1 norm, or for a size alone."""

from __future__ import annotations

import numpy as np
from torch import nn

from gaprune.genome import Bits, Floats
from gaprune.prune import Compactor, Graph, Masks, checked_graph, state_tensors

SCOPES = ("uniform", "global")


def cut_by_l1(
    model: nn.Module, image_shape: tuple[int, int, int], keep: float, scope: str
) -> tuple[nn.Module, Graph, Masks]:
    """The network without the filters of smallest L1 norm (Li et al. 2017), on its own device.

    Args:
        model: left as it is.
        image_shape: (C, H, W).
        keep: share of the filters that stay; of each channel group at least one does.
        scope: ``uniform``: that share of each group. ``global``: of all filters, each layer's mean norm scaled to 1.

    Returns:
        The network, the pruning graph of ``model``, and what the network keeps.

    Raises:
        ModelError: it cannot be pruned.
    """
    graph = checked_graph(model, image_shape)
    masks = Masks(_chosen(graph, l1_norms(model, graph), keep, scope))
    return Compactor(model, graph)(masks), graph, masks


def l1_norms(model: nn.Module, graph: Graph) -> Floats:
    """(n,) L1 norm of each neuron's incoming kernels, the mean over its producers, each layer's mean scaled to 1."""
    tensors, total, producers = state_tensors(model), np.zeros(graph.neurons), np.zeros(graph.neurons)
    for layer in {layer.weight: layer for layer in graph.layers if layer.produces}.values():
        rows = tensors[layer.weight].detach().transpose(0, 1 - layer.input_axis)
        norms = rows.flatten(1).double().abs().sum(1).cpu().numpy()
        for column in layer.outputs.reshape(len(norms), -1).T:
            ours = column >= 0
            np.add.at(total, column[ours], norms[ours] / max(norms.mean(), np.finfo(np.float64).tiny))
            np.add.at(producers, column[ours], 1)
    return total / np.maximum(producers, 1)


def uniform(graph: Graph, keep: float) -> Bits:
    """(n,) boolean: the first neurons of each group, ``keep`` of them, one at least."""
    return _chosen(graph, -np.arange(graph.neurons, dtype=np.float64), keep, "uniform")


def _chosen(graph: Graph, scores: Floats, keep: float, scope: str) -> Bits:
    chosen = np.zeros(graph.neurons, dtype=np.bool_)
    if scope == "global":
        chosen[np.argsort(-scores, kind="stable")[: max(1, round(keep * graph.neurons))]] = True
    for group in graph.groups:
        order = group.start + np.argsort(-scores[group.slice], kind="stable")
        chosen[order[: 1 if scope == "global" else max(1, round(keep * group.size))]] = True
    return chosen
