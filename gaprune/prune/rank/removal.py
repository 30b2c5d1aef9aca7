"""The order in which channels can go: optimal brain surgeon by channel, in closed form.

Removing channel i of a consumer's input, the rest compensating, costs |W_i|^2 / [C^-1]_ii (Hassibi and Stork 1993, by
channel). Then W_j gains W_i A_ij and C^-1 loses a rank-one term. Only S = W^T W (summed over outputs and taps) and C^-1
are needed, so a step is O(C^2) and a whole layer O(C^3). The same within each row orders kernels (connections.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.genome import Floats
from gaprune.progress import SILENT, Reporter
from gaprune.prune.compensate.compensation import choose_damping
from gaprune.prune.compensate.connections import kernel_worth
from gaprune.prune.compensate.statistics import Statistics, consumers
from gaprune.prune.graph.graph import ChannelGroup, Graph, Layer
from gaprune.prune.graph.tensors import state_tensors
from gaprune.prune.rank.importance import Importance, kernel_norms, l2

DELAY = 32
"""Channels that go before a consumer's matrices are brought up to date."""


class _Consumer:
    """One consumer of a group while its channels go.

    C^-1 loses a rank-one term a step and S gains one of rank two. ``DELAY`` terms are collected and applied at once;
    until then only diagonals and the rows that are asked for are up to date. Nothing is approximated by that.

    Args:
        weight: (out, in, taps) float64.
        covariance: (in, in) float64 of its input.
        damping: relative to the mean variance.
        channels: (in,) position within the group of each input, -1 where it is no neuron of the group.
    """

    def __init__(self, weight: Floats, covariance: Floats, damping: float, channels: NDArray[np.int64]) -> None:
        inputs = len(covariance)
        self._gram, self._inverse, self._scale = _prepared(weight, covariance, damping)
        members = [np.flatnonzero(channels == neuron) for neuron in range(int(channels.max()) + 1)]
        self._inputs = np.array([m[0] if len(m) else -1 for m in members])
        self._gram_diagonal = self._gram.diagonal().copy()
        self._inverse_diagonal = self._inverse.diagonal().copy()
        self._gone = np.zeros(inputs, dtype=np.bool_)
        self._pending = 0
        self._roots, self._shares, self._gains = np.empty((3, DELAY, inputs))

    def costs(self) -> Floats:
        """(neurons,) relative output error that removing each would add."""
        inputs = self._inputs
        found = self._gram_diagonal[inputs] / np.maximum(self._inverse_diagonal[inputs], 1e-300) * self._scale
        return np.where(inputs >= 0, found, 0.0)

    def remove(self, neuron: int) -> None:
        """Take a neuron out: the others compensate."""
        i = self._inputs[neuron]
        if i < 0:
            return
        if self._pending == DELAY:
            self._catch_up()
        m = self._pending
        roots, shares, gains = self._roots[:m], self._shares[:m], self._gains[:m]
        pivot = max(self._inverse_diagonal[i], 1e-300)
        inverse = self._inverse[i] - roots[:, i] @ roots
        gram = self._gram[i] + shares[:, i] @ gains + gains[:, i] @ shares
        inverse[self._gone] = gram[self._gone] = 0.0
        a = inverse / -pivot
        a[i] = 0.0
        gain = gram + self._gram_diagonal[i] / 2 * a  # S_jk gains a_j s_k + s_j a_k + s_i a_j a_k
        self._gram_diagonal += 2 * a * gain
        self._inverse_diagonal -= inverse**2 / pivot
        self._roots[m], self._shares[m], self._gains[m] = inverse / np.sqrt(pivot), a, gain
        self._gone[i] = True
        self._pending = m + 1

    def _catch_up(self) -> None:
        crossed = self._shares.T @ self._gains
        self._gram += crossed
        self._gram += crossed.T
        self._inverse -= self._roots.T @ self._roots
        self._pending = 0


class _OfBlocks:
    """A consumer each of whose neurons is several inputs (a head is its features), while these go together.

    Removing the inputs B costs tr(S_BB [C^-1]_BB^-1), the rest compensating; then W_K gains A^T W_B with
    A = -[C^-1]_BB^-1 [C^-1]_BK.

    Args:
        weight: (out, in, taps) float64.
        covariance: (in, in) float64 of its input.
        damping: relative to the mean variance.
        channels: (in,) position within the group of each input, -1 where it is no neuron of the group.
    """

    def __init__(self, weight: Floats, covariance: Floats, damping: float, channels: NDArray[np.int64]) -> None:
        self._gram, self._inverse, self._scale = _prepared(weight, covariance, damping)
        self._members = [np.flatnonzero(channels == neuron) for neuron in range(int(channels.max()) + 1)]

    def costs(self) -> Floats:
        """(neurons,) relative output error that removing each would add; 0 for those that are gone."""
        found = [float((self._gram[np.ix_(b, b)] * self._freed(b)).sum()) for b in self._members]
        return np.array(found) * self._scale

    def remove(self, neuron: int) -> None:
        """Take a neuron out: the inputs of the others compensate."""
        gone = self._members[neuron]
        across, freed = self._inverse[gone], self._freed(gone)
        shares = -freed @ across
        shares[:, gone] = 0.0
        gain = self._gram[:, gone] @ shares
        self._gram += gain + gain.T + shares.T @ self._gram[np.ix_(gone, gone)] @ shares
        self._inverse -= across.T @ freed @ across
        for matrix in (self._gram, self._inverse):
            matrix[gone] = matrix[:, gone] = 0.0
        self._members[neuron] = gone[:0]

    def _freed(self, inputs: NDArray[np.int64]) -> Floats:
        """What varies in some inputs and cannot be told from the others."""
        return np.asarray(np.linalg.inv(self._inverse[np.ix_(inputs, inputs)]), dtype=np.float64)


def _prepared(weight: Floats, covariance: Floats, damping: float) -> tuple[Floats, Floats, float]:
    """(in, in) W^T W and C^-1, and what makes an error of the output one relative to its energy."""
    inputs = len(covariance)
    rows = weight.transpose(1, 0, 2).reshape(inputs, -1)
    gram = rows @ rows.T
    ridge = max(damping * float(np.trace(covariance)) / inputs, 1e-12)
    inverse = np.asarray(np.linalg.inv(covariance + ridge * np.eye(inputs)), dtype=np.float64)
    energy = float((gram * covariance).sum())
    return gram, inverse, 1.0 / energy if energy > 0 else 0.0


def removal_curve(consumers_of: Sequence[_Consumer | _OfBlocks], neurons: int) -> tuple[NDArray[np.int64], Floats]:
    """Greedy removal of one group's neurons until one is left.

    Returns:
        (neurons - 1,) neurons in the order they go, and the relative output error each adds (summed over consumers).
    """
    order = np.empty(neurons - 1, dtype=np.int64)
    added = np.empty(neurons - 1)
    gone = np.zeros(neurons, dtype=np.bool_)
    for step in range(neurons - 1):
        costs = np.sum([consumer.costs() for consumer in consumers_of], axis=0)
        costs[gone] = np.inf
        best = int(np.argmin(costs))
        order[step], added[step] = best, max(float(costs[best]), 0.0)
        gone[best] = True
        for consumer in consumers_of:
            consumer.remove(best)
    return order, added


def obs(
    model: nn.Module,
    graph: Graph,
    statistics: Statistics,
    *,
    kernels: bool = False,
    reporter: Reporter = SILENT,
) -> Importance:
    """Worth of every neuron by the removal order: the relative error reached when it goes, always rising.

    Groups whose consumers have no statistics (grouped, depthwise, flattened) keep their L2 worth, and take shares
    of its square for errors; so do heads of attention for errors, whose worth is by the removal order of their features
    together. With ``kernels`` the kernels of convolutions with statistics get their worth by the
    removal order within their rows, and otherwise their L2 norms.
    """
    worth = l2(model, graph).neurons
    errors = np.concatenate([_energy_shares(worth[group.slice]) for group in graph.groups])
    tensors = state_tensors(model)
    layers = {w: layer for w, layer in consumers(model, graph).items() if w in statistics.fitted}
    dampings = {w: choose_damping(statistics.fitted[w], statistics.held_out.get(w)) for w in layers}
    with reporter.task("removal order", graph.neurons) as task:
        for group in graph.groups:
            readers = {weight: _within(group, layer) for weight, layer in layers.items()}
            readers = {weight: channels for weight, channels in readers.items() if (channels >= 0).any()}
            single = all(map(_are_single, readers.values()))
            if readers and group.size > 1 and (single or _are_heads(graph, group)):
                kind = _Consumer if single else _OfBlocks
                found = [
                    kind(_three(tensors[w]), statistics.fitted[w].covariance.cpu().numpy(), dampings[w], channels)
                    for w, channels in readers.items()
                ]
                order, added = removal_curve(found, group.size)
                last = np.setdiff1d(np.arange(group.size), order)
                worth[group.slice] = _rising(order, added, last)
                inside = group.start + np.append(order, last)
                errors[inside] = np.append(added, np.inf) if single else np.sort(errors[group.slice])
            task.advance(group.size)
    found_kernels = kernel_norms(model, graph)
    if kernels:
        informed = found_kernels.keys() & layers.keys()
        with reporter.task("removal order of kernels, layers", len(informed)) as task:
            for weight in informed:
                covariance = statistics.fitted[weight].covariance
                found_kernels[weight] = kernel_worth(tensors[weight].flatten(2), covariance, dampings[weight])
                task.advance(1)
    return Importance(worth, found_kernels, errors)


def _are_heads(graph: Graph, group: ChannelGroup) -> bool:
    """Whether neurons are several outputs of linear layers each, and nothing sums over them but layers with weights."""
    made = [layer for layer in graph.layers if layer.name in group.producers]
    several = any(int((layer.outputs == group.start).sum()) > 1 for layer in made)
    if not several or any(layer.convolution for layer in made):
        return False
    return not np.isin(np.arange(group.start, group.start + group.size), graph.contracted).any()


def _are_single(channels: NDArray[np.int64]) -> bool:
    """Whether each neuron is one input (no flattened maps)."""
    return int(np.bincount(channels[channels >= 0]).max()) == 1


def _rising(order: NDArray[np.int64], added: Floats, last: NDArray[np.int64]) -> Floats:
    """Worth of a group's neurons: the error reached when each goes; more for the last, which never does."""
    reached = np.cumsum(added)
    worth = np.empty(len(order) + len(last))
    worth[order] = reached + np.arange(len(order)) * 1e-12
    worth[last] = (reached[-1] if len(reached) else 0.0) * 2 + 1e-6
    return worth


def _energy_shares(worth: Floats) -> Floats:
    """Errors of a group without statistics: each neuron's share of the squared worth."""
    energy = worth**2
    return energy / max(float(energy.sum()), 1e-300)


def _three(weight: torch.Tensor) -> Floats:
    """(out, in, taps) float64."""
    return weight.double().flatten(2).cpu().numpy() if weight.ndim > 2 else weight.double()[..., None].cpu().numpy()


def _within(group: ChannelGroup, layer: Layer) -> NDArray[np.int64]:
    """(in,) position within the group of each input channel, -1 elsewhere; of several neurons, that of the group's."""
    inside = (layer.inputs >= group.start) & (layer.inputs < group.start + group.size)
    found = np.where(inside, layer.inputs - group.start, -1)
    return found.max(axis=1) if found.ndim > 1 else found
