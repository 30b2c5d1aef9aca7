"""The pruning graph of a network: which neurons and connections exist, who produces and who consumes them.

Derived from the traced computation alone (tracing.py, rules/), never from module names or types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.errors import ModelError
from gaprune.prune.graph.rules import RULES
from gaprune.prune.graph.tracing import BATCH, OUTPUT, Axes, Elementwise, Trace, Use, trace
from gaprune.prune.graph.tracing import Norm as Norm

Neurons = NDArray[np.int64]
"""Neuron indices, -1 where an index of the axis belongs to no removable neuron and always stays."""

NO_CONVOLUTION = "{} has no convolution, and what gaprune removes is channels of convolutions"

NAMED = 3
"""Layers that an error names; a large network may have dozens."""


@dataclass(frozen=True)
class ChannelGroup:
    """Neurons that occur at the same axes: one section of the genome.

    Attributes:
        name: path of the first convolution that produces them, numbered if it has several.
        start: index of the first neuron; a group's neurons are numbered in a row.
        size: number of neurons.
        producers: paths of the convolutions that produce them (several where additions join them).
        consumers: paths of the layers whose inputs they are.
    """

    name: str
    start: int
    size: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def slice(self) -> slice:
        """Where the group's neurons lie among all neurons."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as it stands in the computation.

    Attributes:
        name: module path.
        weight: name of the weight, (out, in / groups, ...).
        convolution: whether it is a convolution.
        kind: ``dense``, ``grouped`` or ``depthwise``.
        inputs: (in,) neuron of each input channel or feature, -1 where it always stays.
        outputs: (out,) neuron of each output channel, -1 where it always stays.
        groups: groups of the convolution before pruning.
        kernel: taps of one kernel.
        positions: output positions of one image.
        splittable: whether one convolution module alone holds the weight, so that its groups can change.
    """

    name: str
    weight: str
    convolution: bool
    kind: str
    inputs: Neurons
    outputs: Neurons
    groups: int
    kernel: int
    positions: int
    splittable: bool


@dataclass(frozen=True)
class CountedAxis:
    """Channels of which fvcore counts ``factor`` FLOPs each (batch norm, pooling, resizing)."""

    neurons: Neurons
    factor: int


@dataclass(frozen=True)
class Graph:
    """Everything that pruning needs to know of a network's structure.

    Attributes:
        groups: channel groups in order of computation.
        layers: every call of a convolution or linear layer, in order of computation.
        axes: for each parameter and buffer with pruned axes, the neuron of every index of every axis
            (``None`` for an axis that is never cut).
        counted: what else fvcore counts.
        unpruned: layers with channels that stay, each with the reason.
        norms: batch norms that can be folded into the convolution before them, in order of computation.
    """

    groups: tuple[ChannelGroup, ...]
    layers: tuple[Layer, ...]
    axes: dict[str, tuple[Neurons | None, ...]]
    counted: tuple[CountedAxis, ...]
    unpruned: tuple[tuple[str, str], ...]
    norms: tuple[Norm, ...] = ()

    @property
    def neurons(self) -> int:
        """Number of neurons that may be removed."""
        return sum(group.size for group in self.groups)

    def convolutions(self) -> tuple[Layer, ...]:
        """Dense convolutions, each weight once: those whose connections are genes."""
        seen: dict[str, Layer] = {}
        for layer in self.layers:
            if layer.convolution and layer.kind == "dense":
                seen.setdefault(layer.weight, layer)
        return tuple(seen.values())


def build_graph(model: nn.Module, image_shape: tuple[int, int, int]) -> Graph:
    """Trace ``model`` and derive its pruning graph.

    Args:
        model: the network; its mode, parameters and buffers are left as they are.
        image_shape: (C, H, W) of one input image.

    Raises:
        ModelError: the network cannot be traced, or has no neuron that may be removed.
    """
    parameter = next(iter(model.parameters()), None)
    if parameter is None:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to prune")
    example = torch.zeros((BATCH, *image_shape), dtype=parameter.dtype, device=parameter.device)
    graph = _from_trace(trace(model, example, RULES))
    if not any(layer.convolution for layer in graph.layers) and not graph.unpruned:
        raise ModelError(NO_CONVOLUTION.format(type(model).__name__))
    if graph.neurons == 0:
        shown = [f"{layer}: {reason}" for layer, reason in graph.unpruned[:NAMED]] or ["no hidden convolution"]
        more = len(graph.unpruned) - NAMED
        reasons = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
        raise ModelError(f"{type(model).__name__} has no neuron that may be removed ({reasons})")
    return graph


def without_groups(graph: Graph, reasons: dict[str, str]) -> Graph:
    """The graph with some channel groups left whole.

    Args:
        graph: a pruning graph.
        reasons: by group name, why it stays.
    """
    kept = [group for group in graph.groups if group.name not in reasons]
    number = np.full(graph.neurons + 1, -1, dtype=np.int64)  # the last entry serves index -1
    groups = []
    start = 0
    for group in kept:
        number[group.slice] = np.arange(start, start + group.size)
        groups.append(replace(group, start=start))
        start += group.size
    axes = {
        name: tuple(None if axis is None or (number[axis] < 0).all() else number[axis] for axis in labels)
        for name, labels in graph.axes.items()
    }
    left = {layer: reasons[g.name] for g in graph.groups if g.name in reasons for layer in g.producers}
    return Graph(
        groups=tuple(groups),
        layers=tuple(replace(x, inputs=number[x.inputs], outputs=number[x.outputs]) for x in graph.layers),
        axes={name: labels for name, labels in axes.items() if any(axis is not None for axis in labels)},
        counted=tuple(replace(axis, neurons=number[axis.neurons]) for axis in graph.counted),
        unpruned=(*graph.unpruned, *left.items()),
        norms=graph.norms,
    )


def _from_trace(found: Trace) -> Graph:
    number, groups = _number_neurons(found)

    def neurons(atoms: NDArray[np.int64]) -> Neurons:
        return np.array([number.get(int(root), -1) for root in found.atoms.roots(atoms)], dtype=np.int64)

    def use(record: Use) -> Layer:
        return Layer(
            name=record.layer,
            weight=record.weight,
            convolution=record.convolution,
            kind=record.kind,
            inputs=neurons(record.inputs),
            outputs=neurons(record.outputs),
            groups=record.groups,
            kernel=record.kernel,
            positions=record.positions,
            splittable=record.splittable,
        )

    def counted(record: Elementwise) -> CountedAxis:
        return CountedAxis(neurons(record.atoms), record.factor)

    layers = tuple(use(record) for record in found.uses)
    axes = {name: _cut_axes(labels, neurons) for name, labels in found.tensors.items()}
    return Graph(
        groups=tuple(_describe(group, layers) for group in groups),
        layers=layers,
        axes={name: labels for name, labels in axes.items() if any(label is not None for label in labels)},
        counted=tuple(counted(record) for record in found.elementwise),
        unpruned=_unpruned(found),
        norms=tuple(found.norms),
    )


def _cut_axes(labels: Axes, neurons: Callable[[Neurons], Neurons]) -> tuple[Neurons | None, ...]:
    cut = [None if atoms is None else neurons(atoms) for atoms in labels]
    return tuple(label if label is not None and (label >= 0).any() else None for label in cut)


def _number_neurons(found: Trace) -> tuple[dict[int, int], list[tuple[str, int, int]]]:
    """Number the removable classes group by group; a group's classes occur at the same axes."""
    occurrences: dict[int, set[tuple[str, int]]] = {}
    for name, labels in found.tensors.items():
        for axis, atoms in enumerate(labels):
            if atoms is not None:
                for root in found.atoms.roots(atoms):
                    occurrences.setdefault(int(root), set()).add((name, axis))
    number: dict[int, int] = {}
    members: dict[frozenset[tuple[str, int]], list[int]] = {}
    names: dict[frozenset[tuple[str, int]], str] = {}
    for use in found.uses:
        if not use.convolution:
            continue
        for root in dict.fromkeys(int(r) for r in found.atoms.roots(use.outputs)):
            if found.atoms.frozen(root) is None:
                signature = frozenset(occurrences.get(root, set()))
                names.setdefault(signature, use.layer)
                if root not in number:
                    number[root] = -1
                    members.setdefault(signature, []).append(root)
    groups: list[tuple[str, int, int]] = []
    start = 0
    sharing: Counter[str] = Counter()
    for signature, roots in members.items():
        for offset, root in enumerate(roots):
            number[root] = start + offset
        name = names[signature]
        sharing[name] += 1
        unique = name if sharing[name] == 1 else f"{name} ({sharing[name]})"
        groups.append((unique, start, len(roots)))
        start += len(roots)
    return number, groups


def _describe(group: tuple[str, int, int], layers: tuple[Layer, ...]) -> ChannelGroup:
    name, start, size = group

    def touches(neurons: Neurons) -> bool:
        return bool(((neurons >= start) & (neurons < start + size)).any())

    producers = dict.fromkeys(layer.name for layer in layers if layer.convolution and touches(layer.outputs))
    consumers = dict.fromkeys(layer.name for layer in layers if touches(layer.inputs))
    return ChannelGroup(name, start, size, tuple(producers), tuple(consumers))


def _unpruned(found: Trace) -> tuple[tuple[str, str], ...]:
    """Convolutions that are not understood or have outputs that must stay, but not those of the network."""
    reasons: dict[str, str] = {}
    for use in found.uses:
        if use.convolution:
            for root in found.atoms.roots(use.outputs):
                reason = found.atoms.frozen(int(root))
                if reason is not None and reason != OUTPUT:
                    reasons.setdefault(use.layer, reason)
    return tuple({**found.unfollowed, **reasons}.items())
