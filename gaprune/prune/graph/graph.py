"""The pruning graph of a network: which neurons and connections exist, who produces and who consumes them.

Derived from the traced computation alone (tracing.py, rules/), never from module names or types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gaprune.errors import ModelError
from gaprune.options import Layers
from gaprune.prune.graph.inputs import BATCH, Form, Inputs
from gaprune.prune.graph.rules import RULES
from gaprune.prune.graph.tracing import OUTPUT, Axes, Elementwise, Trace, Use, trace
from gaprune.prune.graph.tracing import Norm as Norm

Neurons = NDArray[np.int64]
"""(n,) neuron indices, -1 where an index of the axis belongs to no removable neuron and always stays; or (n, k) where
it stays while all of up to k neurons do (a head, and a feature of all heads)."""

NO_CONVOLUTION = "{} has no convolution, and what --layers conv removes is channels of convolutions"
NO_LAYER = "{} has no convolution and no linear layer, and what gaprune removes is outputs of these"

RETURNED = (
    "a later layer reads it, but it is also an output of the network: leave it out of forward's if nobody needs it"
)

NAMED = 3
"""Layers that an error or a warning names; a large network may have dozens."""


@dataclass(frozen=True)
class ChannelGroup:
    """Neurons that occur at the same axes: one section of the genome.

    Attributes:
        name: path of the first layer that produces them, numbered if it has several.
        start: index of the first neuron; a group's neurons are numbered in a row.
        size: number of neurons.
        producers: paths of the layers that produce them (several where additions join them).
        consumers: paths of the layers whose inputs they are.
        least: how many must stay: two where a spread is taken over them.
    """

    name: str
    start: int
    size: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    least: int = 1

    @property
    def slice(self) -> slice:
        """Where the group's neurons lie among all neurons."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer as it stands in the computation.

    Attributes:
        name: module path.
        weight: name of the weight, (out, in / groups, ...); of a transposed convolution (in, out, ...).
        convolution: whether it is a convolution.
        kind: ``dense``, ``grouped``, ``depthwise`` or ``transposed``.
        inputs: (in,) neuron of each input channel or feature, -1 where it always stays.
        outputs: (out,) neuron of each output channel, -1 where it always stays.
        groups: groups of the convolution before pruning.
        kernel: taps of one kernel.
        positions: output positions of one image; input positions of a transposed convolution.
        splittable: whether one convolution module alone holds the weight, so that its groups can change.
        along: other axes that carry neurons: there are ``positions`` at each index of them all.
        computed: whether the weight is computed at each call, ``weight`` being what it is computed from.
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
    along: tuple[Neurons, ...] = ()
    computed: bool = False

    @property
    def input_axis(self) -> int:
        """The weight's axis of inputs; the other of the first two is that of outputs."""
        return 0 if self.kind == "transposed" else 1

    @property
    def produces(self) -> bool:
        """Whether some of its outputs are neurons that may be removed."""
        return bool((self.outputs >= 0).any())


@dataclass(frozen=True)
class CountedAxis:
    """Axes of which fvcore counts ``factor`` FLOPs for each index of them all (norms, pooling, resizing, products)."""

    axes: tuple[Neurons, ...]
    factor: int


@dataclass(frozen=True)
class MaskedCall:
    """A call that by definition sees the kept channels alone.

    Norms and reductions over channels, attention whose scale is torch's, layers whose weight is computed.

    Attributes:
        call: what it does (``cut.masked`` has them all).
        axis: of its input, counted from the end.
        neurons: (n,) or (n, k) there.
        groups: into which its channels are divided.
    """

    call: str
    axis: int
    neurons: Neurons
    groups: int


@dataclass(frozen=True)
class FittedNumber:
    """A number of a module that its forward reads, and that is how many of ``neurons`` are kept.

    Attributes:
        path: of the module.
        name: of its attribute.
        neurons: (n,) or (n, k) along the axis that it counts.
        listed: whether it is a tuple of this one number.
    """

    path: str
    name: str
    neurons: Neurons
    listed: bool


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
        masked: calls that see the kept channels alone, and others like them, in order of computation.
        contracted: neurons that are summed over without a weight (queries by keys), where a removed one is zero.
        fitted: numbers of modules that follow the widths.
    """

    groups: tuple[ChannelGroup, ...]
    layers: tuple[Layer, ...]
    axes: dict[str, tuple[Neurons | None, ...]]
    counted: tuple[CountedAxis, ...]
    unpruned: tuple[tuple[str, str], ...]
    norms: tuple[Norm, ...] = ()
    masked: tuple[MaskedCall, ...] = ()
    contracted: Neurons = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    fitted: tuple[FittedNumber, ...] = ()

    @property
    def neurons(self) -> int:
        """Number of neurons that may be removed."""
        return sum(group.size for group in self.groups)

    def convolutions(self) -> tuple[Layer, ...]:
        """Dense convolutions with weights of their own, each once: those whose connections are genes."""
        seen: dict[str, Layer] = {}
        for layer in self.layers:
            if layer.convolution and layer.kind == "dense" and not layer.computed:
                seen.setdefault(layer.weight, layer)
        return tuple(seen.values())


def build_graph(model: nn.Module, form: Form, *, layers: Layers = "all") -> Graph:
    """Trace ``model`` and derive its pruning graph.

    Args:
        model: the network; its mode, parameters and buffers are left as they are.
        form: (C, H, W) of one input image, or an example of its inputs.
        layers: whose outputs are neurons: ``all`` that have weights, or ``conv``, convolutions alone.

    Raises:
        ModelError: the network cannot be traced, or has no neuron that may be removed.
    """
    parameter = next(iter(model.parameters()), None)
    if parameter is None:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to prune")
    example: torch.Tensor | Inputs
    if isinstance(form, Inputs):
        example = form.first(BATCH).like(parameter)
    else:
        example = torch.zeros((BATCH, *form), dtype=parameter.dtype, device=parameter.device)
    graph = _from_trace(trace(model, example, RULES, linear=layers == "all"))
    if not any(layer.convolution or layers == "all" for layer in graph.layers) and not graph.unpruned:
        raise ModelError((NO_LAYER if layers == "all" else NO_CONVOLUTION).format(type(model).__name__))
    if graph.neurons == 0:
        none = "no hidden layer" if layers == "all" else "no hidden convolution"
        shown = [f"{layer}: {reason}" for layer, reason in graph.unpruned[:NAMED]] or [none]
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

    def renumbered(neurons: Neurons) -> Neurons:
        found: Neurons = number[neurons]
        return found

    left = {layer: reasons[g.name] for g in graph.groups if g.name in reasons for layer in g.producers}
    return Graph(
        groups=tuple(groups),
        layers=tuple(
            replace(x, inputs=number[x.inputs], outputs=number[x.outputs], along=tuple(map(renumbered, x.along)))
            for x in graph.layers
        ),
        axes={name: labels for name, labels in axes.items() if any(axis is not None for axis in labels)},
        counted=tuple(replace(one, axes=tuple(map(renumbered, one.axes))) for one in graph.counted),
        unpruned=(*graph.unpruned, *left.items()),
        norms=graph.norms,
        masked=tuple(replace(one, neurons=number[one.neurons]) for one in graph.masked),
        contracted=number[graph.contracted],
        fitted=tuple(replace(one, neurons=number[one.neurons]) for one in graph.fitted),
    )


def _from_trace(found: Trace) -> Graph:
    number, groups = _number_neurons(found)
    known: dict[int, list[int]] = {}

    def neurons(atoms: NDArray[np.int64]) -> Neurons:
        roots, places = np.unique(found.atoms.roots(atoms), return_inverse=True)
        for root in roots.tolist():
            if root not in known:
                known[root] = [number[base] for base in found.atoms.bases(root) if base in number]
        rows = [known[root] for root in roots.tolist()]
        widest = max(map(len, rows), default=1)
        padded = np.array([row + [-1] * (max(widest, 1) - len(row)) for row in rows], dtype=np.int64)
        return padded[places, 0] if widest <= 1 and len(atoms) else padded[places]

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
            along=tuple(neurons(axis) for axis in record.along),
            computed=record.computed,
        )

    def counted(record: Elementwise) -> CountedAxis:
        return CountedAxis(tuple(neurons(axis) for axis in record.axes), record.factor)

    layers = tuple(use(record) for record in found.uses)
    axes = {name: _cut_axes(labels, neurons) for name, labels in found.tensors.items()}
    return Graph(
        groups=tuple(_describe(group, layers, _of(found.several, neurons)) for group in groups),
        layers=layers,
        axes={name: labels for name, labels in axes.items() if any(label is not None for label in labels)},
        counted=tuple(counted(record) for record in found.elementwise),
        unpruned=_unpruned(found),
        norms=tuple(found.norms),
        masked=tuple(MaskedCall(one.call, one.axis, neurons(one.atoms), one.groups) for one in found.masked),
        contracted=_of(found.contracted, neurons),
        fitted=_fitted(found, neurons),
    )


def _of(axes: list[Neurons], neurons: Callable[[Neurons], Neurons]) -> Neurons:
    """The neurons of some axes, each once."""
    atoms = [neurons(one).reshape(-1) for one in axes]
    every = np.unique(np.concatenate(atoms)) if atoms else np.zeros(0, dtype=np.int64)
    kept: Neurons = every[every >= 0]
    return kept


def _fitted(found: Trace, neurons: Callable[[Neurons], Neurons]) -> tuple[FittedNumber, ...]:
    """Numbers of modules that count one axis; those that would count several unlike ones are left as they are."""
    named: dict[tuple[str, str], dict[bytes, FittedNumber]] = {}
    for one in found.attributes:
        own = neurons(one.atoms)
        if (own >= 0).any():
            number = FittedNumber(one.path, one.name, own, one.listed)
            named.setdefault((one.path, one.name), {}).setdefault(own.tobytes(), number)
    return tuple(next(iter(kinds.values())) for kinds in named.values() if len(kinds) == 1)


def _cut_axes(labels: Axes, neurons: Callable[[Neurons], Neurons]) -> tuple[Neurons | None, ...]:
    cut = [None if atoms is None else neurons(atoms) for atoms in labels]
    return tuple(label if label is not None and (label >= 0).any() else None for label in cut)


def _number_neurons(found: Trace) -> tuple[dict[int, int], list[tuple[str, int, int]]]:
    """Number the removable classes group by group; a group's classes occur at the same axes."""
    occurrences: dict[int, set[tuple[int, int]]] = {}
    axes = [atoms for labels in found.tensors.values() for atoms in labels if atoms is not None]
    for axis, atoms in enumerate(axes):
        for root in np.unique(found.atoms.roots(atoms)).tolist():
            for place, base in enumerate(found.atoms.bases(root)):
                occurrences.setdefault(base, set()).add((axis, place))
    number: dict[int, int] = {}
    members: dict[frozenset[tuple[int, int]], list[int]] = {}
    names: dict[frozenset[tuple[int, int]], str] = {}
    for use in found.uses:
        if not (use.convolution or found.linear):
            continue
        produced = dict.fromkeys(found.atoms.roots(use.outputs).tolist())
        for root in dict.fromkeys(base for atom in produced for base in found.atoms.bases(atom)):
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


def _describe(group: tuple[str, int, int], layers: tuple[Layer, ...], several: Neurons) -> ChannelGroup:
    name, start, size = group

    def touches(neurons: Neurons) -> bool:
        return bool(((neurons >= start) & (neurons < start + size)).any())

    producers = dict.fromkeys(layer.name for layer in layers if touches(layer.outputs))
    consumers = dict.fromkeys(layer.name for layer in layers if touches(layer.inputs))
    return ChannelGroup(name, start, size, tuple(producers), tuple(consumers), 2 if touches(several) else 1)


def _unpruned(found: Trace) -> tuple[tuple[str, str], ...]:
    """Layers that are not understood or have outputs that must stay, but not those whose outputs nobody else reads."""
    reasons: dict[str, str] = {}
    read = {int(root) for use in found.uses for root in found.atoms.roots(use.inputs)}
    for use in found.uses:
        if use.convolution or found.linear:
            for root in found.atoms.roots(use.outputs):
                reason = found.atoms.frozen(int(root))
                if reason == OUTPUT:
                    reason = RETURNED if int(root) in read else None
                if reason is not None:
                    reasons.setdefault(use.layer, reason)
    return tuple({**found.unfollowed, **reasons}.items())
