"""The order in which channels can go: optimal brain surgeon by channel, in closed form.

Removing channel i of a consumer's input, the rest compensating, costs |W_i|^2 / [C^-1]_ii (Hassibi and Stork 1993, by
channel). Then W_j gains W_i A_ij and C^-1 loses a rank-one term. Only S = W^T W (summed over outputs and taps) and C^-1
are needed, so a step is O(C^2) and a whole layer O(C^3). The same within each row orders kernels (connections.py).
"""

from __future__ import annotations

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
        rows = weight.transpose(1, 0, 2).reshape(inputs, -1)
        self._gram = rows @ rows.T
        ridge = max(damping * float(np.trace(covariance)) / inputs, 1e-12)
        self._inverse = np.linalg.inv(covariance + ridge * np.eye(inputs))
        energy = float((self._gram * covariance).sum())
        self._scale = 1.0 / energy if energy > 0 else 0.0
        self._members = [np.flatnonzero(channels == neuron) for neuron in range(int(channels.max()) + 1)]
        self._inputs = np.array([m[0] if len(m) else -1 for m in self._members])
        self._gram_diagonal = self._gram.diagonal().copy()
        self._inverse_diagonal = self._inverse.diagonal().copy()
        self._gone = np.zeros(inputs, dtype=np.bool_)
        self._pending = 0
        self._roots, self._shares, self._gains = np.empty((3, DELAY, inputs))

    @property
    def single(self) -> bool:
        """Whether each neuron is one input (no flattened maps)."""
        return all(len(members) <= 1 for members in self._members)

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


def removal_curve(consumers_of: list[_Consumer], neurons: int) -> tuple[NDArray[np.int64], Floats]:
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
    of its square for errors. With ``kernels`` the kernels of convolutions with statistics get their worth by the
    removal order within their rows, and otherwise their L2 norms.
    """
    worth = l2(model, graph).neurons
    errors = np.concatenate([_energy_shares(worth[group.slice]) for group in graph.groups])
    tensors = state_tensors(model)
    layers = {w: layer for w, layer in consumers(model, graph).items() if w in statistics.fitted}
    dampings = {w: choose_damping(statistics.fitted[w], statistics.held_out.get(w)) for w in layers}
    with reporter.task("removal order", graph.neurons) as task:
        for group in graph.groups:
            found = [
                _Consumer(
                    _three(tensors[weight]),
                    (statistics.fitted[weight].covariance).cpu().numpy(),
                    dampings[weight],
                    _within(group, layer),
                )
                for weight, layer in layers.items()
                if (_within(group, layer) >= 0).any()
            ]
            if found and group.size > 1 and all(consumer.single for consumer in found):
                order, added = removal_curve(found, group.size)
                last = np.setdiff1d(np.arange(group.size), order)
                worth[group.slice] = _rising(order, added, last)
                errors[group.start + order] = added
                errors[group.start + last] = np.inf
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
