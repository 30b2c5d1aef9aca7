"""Walk the exported ATen graph of a network and label every tensor axis with atoms."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from gaprune.errors import ModelError, first_line
from gaprune.prune.graph.atoms import Atoms, AtomTable
from gaprune.prune.graph.inputs import BATCH, Inputs, flattened
from gaprune.prune.graph.modes import evaluating
from gaprune.prune.graph.tensors import first_names

Axes = tuple[Atoms | None, ...]
"""By tensor axis its atoms, or ``None`` for an axis that carries no neurons (batch, height, width)."""

INPUT = "it is the network's input"
OUTPUT = "it is the network's output"
PLAIN = "{} is a plain tensor, which may be cut only as a buffer: self.register_buffer({!r}, ...)"

NOTHING: Atoms = np.zeros(0, dtype=np.int64)
"""Stands for an axis without channels."""

FED = "fed"
"""Under this name a node says whether it is of the images: there are as many of it, on whatever axis they lie."""

MAKING = ("aten.new_", "aten.expand", "aten.repeat", "aten.tile", "aten.broadcast_to")
"""Calls that make as many of something as there are images."""


@dataclass(frozen=True)
class Use:
    """One call of a weight that mixes channels: a convolution or a linear layer.

    Attributes:
        layer: path of the module that makes the call.
        weight: name of the weight.
        convolution: whether it is a convolution.
        kind: ``dense``, ``grouped``, ``depthwise`` or ``transposed``.
        inputs: (in,) atoms at the input.
        outputs: (out,) atoms at the output.
        groups: groups of the convolution; 1 for a linear layer.
        kernel: number of taps, 1 for a linear layer.
        positions: output positions (height x width) of one image; input positions of a transposed convolution.
        splittable: whether one convolution module alone holds the weight, so that its groups can change.
        along: other axes that carry atoms: there are ``positions`` at each index of them all.
        computed: whether the weight is computed at each call, ``weight`` being what it is computed from.
    """

    layer: str
    weight: str
    convolution: bool
    kind: str
    inputs: Atoms
    outputs: Atoms
    groups: int
    kernel: int
    positions: int
    splittable: bool
    along: tuple[Atoms, ...] = ()
    computed: bool = False


@dataclass(frozen=True)
class Elementwise:
    """A call that fvcore counts per element of its axes of atoms: norms, some pooling and resizing, products.

    Attributes:
        axes: the axes that carry atoms, (n,) each.
        factor: FLOPs per index of them all, of one image.
    """

    axes: tuple[Atoms, ...]
    factor: int


@dataclass(frozen=True)
class Masked:
    """A call that by definition sees the kept channels alone.

    Norms and reductions over channels, attention whose scale is torch's, layers whose weight is computed.

    Attributes:
        call: what it does: ``layer_norm``, ``mean``, ``attention``, ``linear`` and so on (``cut.masked`` has them all).
        axis: of its input, counted from the end, on which ``atoms`` lie.
        atoms: (n,) atoms there.
        groups: into which its channels are divided.
    """

    call: str
    axis: int
    atoms: Atoms
    groups: int


@dataclass(frozen=True)
class Attribute:
    """A number that a module holds and that its forward reads: how many of an axis's channels there are.

    Attributes:
        path: of the module.
        name: of its attribute.
        atoms: (n,) the channels that it counts.
        listed: whether it is a tuple or list of this one number.
    """

    path: str
    name: str
    atoms: Atoms
    listed: bool = False


@dataclass(frozen=True)
class Norm:
    """A batch norm that alone reads the output of one convolution, each of both called once.

    Attributes:
        convolution: module path of the convolution.
        norm: module path of the batch norm.
        rectified: whether a ReLU, and nothing else, reads the batch norm.
        bounds: below and above what the activation, which alone reads the batch norm, gives the same for all; ``None``
            where there is no such activation.
    """

    convolution: str
    norm: str
    rectified: bool
    bounds: tuple[float, float] | None = field(default=None, compare=False)


@dataclass
class Trace:
    """What the walk over one network's computation has found.

    ``linear`` says whether outputs of linear layers may be neurons, too; ``contracted`` holds channels that are summed
    over without a weight of their own, where a removed one must be zero; ``several`` those of which one alone is not
    enough, since a spread is taken over them.
    """

    model: nn.Module
    linear: bool = True
    atoms: AtomTable = field(default_factory=AtomTable)
    tensors: dict[str, Axes] = field(default_factory=dict)
    values: dict[Node, Any] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    elementwise: list[Elementwise] = field(default_factory=list)
    norms: list[Norm] = field(default_factory=list)
    contracted: list[Atoms] = field(default_factory=list)
    several: list[Atoms] = field(default_factory=list)
    masked: list[Masked] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    unfollowed: dict[str, str] = field(default_factory=dict)
    names: dict[Node, str] = field(default_factory=dict)

    def axes(self, node: Node) -> Axes:
        """The labels of a tensor, made on first use: a parameter's axes longer than 1 get fresh atoms."""
        if node not in self.values:
            several = kernel(self.model, self.names.get(node, "")) or len(shape(node))
            self.values[node] = self.parameter(node, tuple(range(several)))
        labels: Axes = self.values[node]
        return labels

    def parameter(self, node: Node, carrying: tuple[int, ...]) -> Axes:
        """The labels of a parameter or buffer whose axes ``carrying`` may carry neurons."""
        name = self.names.get(node)
        if name is None:
            raise ValueError(f"{node} is computed, not a parameter")
        if name not in self.tensors:
            sizes = shape(node)
            self.tensors[name] = tuple(
                self.atoms.new(size) if axis in carrying and size > 1 else None for axis, size in enumerate(sizes)
            )
        self.values[node] = self.tensors[name]
        return self.tensors[name]

    def sees(self, call: str) -> int:
        """Note a call that may see the kept channels alone; its place in ``masked``, where what it sees goes."""
        self.masked.append(Masked(call, -1, NOTHING, 1))
        return len(self.masked) - 1

    def unite(self, left: Atoms | None, right: Atoms | None) -> None:
        """Unite two axes; where only one carries atoms, they must stay."""
        if left is not None and right is not None:
            self.atoms.unite(left, right)
        elif left is not None or right is not None:
            carrier = left if left is not None else right
            assert carrier is not None
            self.atoms.freeze(carrier, "an axis without channels is combined with it")

    def unlabelled(self, count: int) -> Atoms:
        """Atoms for an axis that carries none, for counting alone."""
        atoms = self.atoms.new(count)
        self.atoms.freeze(atoms, "it is an axis without channels")
        return atoms

    def freeze(self, labels: Axes, reason: str) -> None:
        """Keep all atoms of a tensor for good."""
        for atoms in labels:
            if atoms is not None:
                self.atoms.freeze(atoms, reason)

    def merge(self, labels: Sequence[Atoms | None], sizes: Sequence[int]) -> Atoms | None:
        """The atoms of several axes laid out as one: repeated, or joint where more than one of them carries atoms."""
        carrying = [axis for axis, label in enumerate(labels) if label is not None]
        parts = [repeat_within(labels[axis], tuple(sizes), axis) for axis in carrying]  # type: ignore[arg-type]
        if len(parts) < 2:
            return parts[0] if parts else None
        whole = self.atoms.new(len(parts[0]))
        self.atoms.join(whole, parts)
        return whole

    def split(self, atoms: Atoms, sizes: Sequence[int], carrying: Sequence[int]) -> list[Atoms | None]:
        """An axis laid out as several: those of ``carrying`` carry its atoms, which are the same along the others."""
        made: list[Atoms | None] = [None] * len(sizes)
        for axis in carrying:
            made[axis] = self.atoms.new(sizes[axis])
        parts = [repeat_within(made[axis], tuple(sizes), axis) for axis in carrying]  # type: ignore[arg-type]
        if len(parts) == 1:
            self.atoms.unite(atoms, parts[0])
        else:
            self.atoms.join(atoms, parts)
        return made

    def fresh(self, node: Node, reason: str) -> Any:
        """Labels for the result of a call that is not understood: new atoms that must stay."""

        def label(value: Any) -> Any:
            if isinstance(value, Tensor):
                sizes = tuple(value.shape)
                made = tuple(self.atoms.new(n) if axis and n > 1 else None for axis, n in enumerate(sizes))
                for atoms in made:
                    if atoms is not None:
                        self.atoms.freeze(atoms, reason)
                return made
            if isinstance(value, tuple | list):
                return [label(item) for item in value]
            return None

        return label(node.meta.get("val"))


Rule = Callable[[Trace, Node], Any]
"""From a call to the labels of its result. What a rule raises, the call is left alone for."""


def shape(node: Node) -> tuple[int, ...]:
    """The shape of a node's tensor in the exported example."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise TypeError(f"{node} is no tensor")
    return tuple(int(size) for size in value.shape)


def kernel(model: nn.Module, name: str) -> int:
    """How many axes of a convolution's weight may carry neurons, its taps being none; 0 for any other tensor."""
    path, _, leaf = name.rpartition(".")
    return 2 if leaf == "weight" and isinstance(model.get_submodule(path), _ConvNd) else 0


def is_tensor(value: Any) -> bool:
    """Whether an argument of a call is a node that holds one tensor."""
    return isinstance(value, Node) and isinstance(value.meta.get("val"), Tensor)


def layer_of(node: Node) -> str:
    """The module path in whose forward the call stands."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return paths[-1] if paths and paths[-1] else str(node)


def export(model: nn.Module, example: Tensor | Inputs) -> ExportedProgram:
    """The ATen graph of ``model`` in eval mode on ``example``, ``BATCH`` samples such as (``BATCH``, C, H, W) images.

    Raises:
        ModelError: the forward cannot be traced or does not take such an input.
    """
    try:
        with evaluating(model):
            if isinstance(example, Tensor):
                return torch.export.export(model, (example,), strict=False)
            plain, tensors = flattened(model, example)
            return torch.export.export(plain.eval(), tensors, strict=False)
    except Exception as error:
        taken = f"an input of shape {tuple(example.shape)}" if isinstance(example, Tensor) else f"inputs of {example}"
        raise ModelError(f"{type(model).__name__} cannot be traced on {taken}: {first_line(error)}") from error


def trace(model: nn.Module, example: Tensor | Inputs, rules: dict[Any, Rule], *, linear: bool = True) -> Trace:
    """Label every tensor of the computation.

    Args:
        model: the network.
        example: ``BATCH`` samples such as (``BATCH``, C, H, W) images, on the model's device.
        rules: for each ATen operator how it carries atoms; a call without a rule freezes what it touches.
        linear: whether outputs of linear layers may be neurons, too.

    Raises:
        ModelError: the network cannot be traced.
    """
    program = export(model, example)
    found = Trace(model, linear)
    signature = program.graph_signature
    first = first_names(model)
    owned = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    owned = {node: first.get(name, name) for node, name in owned.items()}
    for node in program.graph.nodes:
        node.meta[FED] = _is_fed(node, signature.user_inputs)
        if node.op == "placeholder":
            held = signature.inputs_to_lifted_tensor_constants.get(node.name)
            _placeholder(found, node, owned.get(node.name), held)
        elif node.op == "call_function":
            found.values[node] = _call(found, node, rules)
        elif node.op == "output":
            _output(found, node)
    found.atoms.settle()
    return found


def _placeholder(found: Trace, node: Node, name: str | None, held: str | None) -> None:
    """A parameter or buffer of this name, a tensor that the network holds as ``held``, or the input."""
    if name is not None:
        found.names[node] = name
    elif isinstance(node.meta.get("val"), Tensor):
        reason = INPUT if held is None else PLAIN.format(held, held.rpartition(".")[2])
        found.values[node] = found.fresh(node, reason)


def _is_fed(node: Node, inputs: Sequence[Any]) -> bool:
    """Whether a node is computed from the images, or made or expanded to be as many as they are."""
    if node.op == "placeholder":
        return node.name in inputs
    name = str(node.target)
    if "aten.new_" not in name and any(source.meta.get(FED) for source in node.all_input_nodes):
        return True
    firsts = {shape(source)[:1] for source in node.all_input_nodes if is_tensor(source)}
    made = not firsts or any(word in name for word in MAKING)
    return made and is_tensor(node) and shape(node)[:1] == (BATCH,) and (BATCH,) not in firsts


def _call(found: Trace, node: Node, rules: dict[Any, Rule]) -> Any:
    if node.target is operator.getitem:
        source, index = node.args
        assert isinstance(source, Node)
        whole = found.values[source]
        return whole[index] if whole is not None else None
    rule = rules.get(node.target)
    if rule is None:
        return None if _only_asserts(node) else leave(found, node, f"{node.target} is not understood")
    try:
        return rule(found, node)
    except Exception as error:  # a foreign network may use an operator in any way
        return leave(found, node, f"{node.target} is not understood here: {error}")


def _only_asserts(node: Node) -> bool:
    """Whether a call gives nothing and writes to nothing, as the assertions do that ``torch.export`` puts in."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns and not schema.is_mutable


def leave(found: Trace, node: Node, reason: str) -> Any:
    """Keep for good all that a call touches; the labels of its result."""
    if "conv" in str(node.target):
        found.unfollowed.setdefault(layer_of(node), reason)
    for source in node.all_input_nodes:
        if is_tensor(source):
            found.freeze(found.axes(source), reason)
        elif isinstance(found.values.get(source), list):
            for labels in found.values[source]:
                found.freeze(labels or (), reason)
    return found.fresh(node, reason)


def _output(found: Trace, node: Node) -> None:
    for source in node.all_input_nodes:
        if is_tensor(source):
            for atoms in found.axes(source):
                if atoms is not None:
                    found.atoms.freeze(atoms, OUTPUT)


def repeat_within(atoms: Atoms, sizes: tuple[int, ...], axis: int) -> Atoms:
    """The atoms of the flattening of axes of ``sizes`` of which only ``axis`` carries atoms."""
    view = atoms.reshape([-1 if a == axis else 1 for a in range(len(sizes))])
    return np.ascontiguousarray(np.broadcast_to(view, sizes)).reshape(-1)
