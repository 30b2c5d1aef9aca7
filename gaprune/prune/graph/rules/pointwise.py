"""Calls that treat every channel alike: element-wise ones, pooling, resizing."""

from __future__ import annotations

import re
from typing import Any

from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.rules.common import arguments, others, per_indices
from gaprune.prune.graph.tracing import Axes, Elementwise, Rule, Trace, is_tensor, shape


def unary(found: Trace, node: Node) -> Axes:
    """One value per element: labels pass through."""
    return found.axes(node.args[0])  # type: ignore[arg-type]


def elementwise(found: Trace, node: Node) -> Axes:
    """Element-wise with broadcasting: axes that meet are united; a broadcast single channel stays."""
    tensors = [argument for argument in node.args if is_tensor(argument)]
    if len(tensors) == 1:
        return found.axes(tensors[0])  # type: ignore[arg-type]
    rank = len(shape(node))
    meeting: list[list[Atoms | None]] = [[] for _ in range(rank)]
    for tensor in tensors:
        assert isinstance(tensor, Node)
        missing = rank - len(shape(tensor))
        for axis, (size, label) in enumerate(zip(shape(tensor), found.axes(tensor), strict=True)):
            if size > 1:
                meeting[missing + axis].append(label)
    for labels in meeting:
        for label in labels[1:]:
            found.unite(labels[0], label)
    return tuple(labels[0] if labels and all(label is not None for label in labels) else None for labels in meeting)


def gate(found: Trace, node: Node) -> Axes:
    """The first half of an axis times the sigmoid of the second: of channels as many go from each, in pairs."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    axis = int(arguments(node)["dim"])
    atoms = labels[axis]
    if atoms is not None:
        half = len(atoms) // 2
        found.atoms.unite(atoms[:half], atoms[half:])
        labels[axis] = atoms[:half]
    return tuple(labels)


def made(found: Trace, node: Node) -> Any:
    """A tensor of a size that the forward gives: what it is like does not matter, but its own axes must stay."""
    return found.fresh(node, "it is combined with a tensor of a size that the forward gives")


def spatial(found: Trace, node: Node) -> Axes:
    """Pooling and resizing: length, height and width change, as many as the operator's name says; channels do not."""
    data = found.axes(node.args[0])  # type: ignore[arg-type]
    dimensions = int(re.findall(r"(\d)d", str(node.target))[-1])
    if any(label is not None for label in data[-dimensions:]):
        raise ValueError("it runs over channels")
    return data


def pool_with_indices(found: Trace, node: Node) -> list[Axes]:
    """Max pooling that also returns indices: both carry the channels."""
    data = spatial(found, node)
    return [data, data]


def counted(per_input: int, per_output: int) -> Rule:
    """A spatial call that fvcore counts per element of its input or its output."""

    def rule(found: Trace, node: Node) -> Axes:
        source = node.args[0]
        assert isinstance(source, Node)
        data = found.axes(source)
        if data[1] is not None:
            along = others(data, 1)
            elements = per_input * per_indices(source, 1, along) + per_output * per_indices(node, 1, along)
            found.elementwise.append(Elementwise((data[1], *along), elements))
        return spatial(found, node)

    return rule
