"""Calls that rearrange axes: padding, reductions, permutations, concatenation, and what runs along one axis."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from gaprune.prune.graph.rules.common import arguments, single_channel
from gaprune.prune.graph.rules.pointwise import elementwise
from gaprune.prune.graph.tracing import FED, Axes, Masked, Rule, Trace, leave, shape


def pad(found: Trace, node: Node) -> Any:
    """Padding of height and width passes; padded channels are new and stay, those between them may go."""
    source, amounts = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    assert isinstance(source, Node)
    labels: list[Any] = list(found.axes(source))
    for step in range(len(amounts) // 2):
        axis = len(labels) - 1 - step
        before, after = amounts[2 * step], amounts[2 * step + 1]
        if labels[axis] is not None and (before or after):
            if before < 0 or after < 0:
                return leave(found, node, "padding cuts channels off")
            labels[axis] = np.concatenate([_padded(found, before), labels[axis], _padded(found, after)])
    return tuple(labels)


def _padded(found: Trace, count: int) -> Any:
    atoms = found.atoms.new(count)
    found.atoms.freeze(atoms, "it is padding")
    return atoms


SPREADS = ("var", "std", "var_mean", "std_mean")


def reduce(found: Trace, node: Node) -> Any:
    """Mean, sum and the like over some axes: of channels they see the kept ones alone."""
    call = str(node.target).split(".")[1]
    sees = found.sees(call)
    labels, axes, keep = _reduced(found, node)
    carrying = [axis for axis in axes if labels[axis] is not None]
    if len(carrying) > 1:
        found.freeze(tuple(labels[axis] for axis in carrying), "a reduction runs over several axes of its channels")
    elif carrying:
        (axis,) = carrying
        found.masked[sees] = Masked(call, axis - len(labels), labels[axis], 1)  # type: ignore[arg-type]
        if call in SPREADS and _elements(node, axes, axis) <= _correction(node):
            found.several.append(labels[axis])  # type: ignore[arg-type]
    out = _without(labels, axes, keep)
    several = node.meta.get("val")
    return [out for _ in several] if isinstance(several, tuple | list) else out


def _elements(node: Node, axes: list[int], axis: int) -> int:
    """How many elements a reduction sees at each index of one of its axes."""
    (source,) = node.all_input_nodes
    return prod(shape(source)[other] for other in axes if other != axis)


def _correction(node: Node) -> float:
    """What a spread takes from the number of elements: 1 where the call does not say."""
    call = arguments(node)
    told = call.get("correction", call.get("unbiased"))
    return 1.0 if told is None else float(told)


def extreme(found: Trace, node: Node) -> Any:
    """The larger or smaller of two tensors, or of one along an axis, with its place or without."""
    if "other" in arguments(node):
        return elementwise(found, node)
    return reduce(found, node)


def place(found: Trace, node: Node) -> Axes:
    """The number of the largest or smallest: channels that it is looked for among must all stay."""
    labels, axes, keep = _reduced(found, node)
    found.freeze(tuple(labels[axis] for axis in axes), "one of its channels is told by its number")
    return _without(labels, axes, keep)


def norm(found: Trace, node: Node) -> Axes:
    """A vector's norm: removed channels are zero in it, so it is that of the kept ones."""
    labels, axes, keep = _reduced(found, node)
    for axis in axes if node.meta[FED] else ():  # a weight's inputs are zero in any case
        if labels[axis] is not None:
            found.contracted.append(labels[axis])  # type: ignore[arg-type]
    return _without(labels, axes, keep)


def _reduced(found: Trace, node: Node) -> tuple[Axes, list[int], bool]:
    """The labels of what is reduced, over which axes, and whether these remain."""
    call = arguments(node)
    source = node.args[0]
    assert isinstance(source, Node)
    labels = found.axes(source)
    rank = len(labels)
    over = call.get("dim")
    axes = list(range(rank)) if over in (None, []) else [over] if isinstance(over, int) else list(over)
    return labels, [axis % rank for axis in axes], bool(call.get("keepdim"))


def _without(labels: Axes, axes: list[int], keep: bool) -> Axes:
    if keep:
        return tuple(None if axis in axes else label for axis, label in enumerate(labels))
    return tuple(label for axis, label in enumerate(labels) if axis not in axes)


def along(reason: str) -> Rule:
    """A call that gives as much as it is given, each element by what lies along some axes."""

    def rule(found: Trace, node: Node) -> Axes:
        call = arguments(node)
        source = node.args[0]
        assert isinstance(source, Node)
        labels = found.axes(source)
        over = call["dim"] if "dim" in call else call.get("dims")
        axes = list(range(len(labels))) if over in (None, []) else [over] if isinstance(over, int) else list(over)
        found.freeze(tuple(labels[axis] for axis in axes), reason)
        return labels

    return rule


def flip(found: Trace, node: Node) -> Axes:
    """Axes the other way round."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    for axis in node.args[1]:  # type: ignore[union-attr]
        atoms = labels[axis]  # type: ignore[index]
        labels[axis] = None if atoms is None else atoms[::-1]  # type: ignore[index]
    return tuple(labels)


def index(found: Trace, node: Node) -> Any:
    """Rows looked up by their numbers along one axis: channels there must stay, other axes pass."""
    source, places = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    assert isinstance(source, Node)
    given = [axis for axis, place in enumerate(places) if place is not None]
    if len(given) != 1:
        return leave(found, node, "several axes are indexed at once")
    labels = found.axes(source)
    axis = given[0]
    found.freeze((labels[axis],), "its channels are looked up by their numbers")
    made = (None,) * len(shape(places[axis]))
    return (*labels[:axis], *made, *labels[axis + 1 :])


def index_select(found: Trace, node: Node) -> Axes:
    """Indices of one axis, gathered: channels there must stay."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    axis = int(arguments(node)["dim"]) % len(labels)
    found.freeze((labels[axis],), "its channels are looked up by their numbers")
    labels[axis] = None
    return tuple(labels)


def movedim(found: Trace, node: Node) -> Axes:
    """Axes moved to other places."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    call = arguments(node)
    pairs = [(one,) if isinstance(one, int) else tuple(one) for one in (call["source"], call["destination"])]
    rank = len(labels)
    moved = {to % rank: axis % rank for axis, to in zip(*pairs, strict=True)}
    rest = iter(axis for axis in range(rank) if axis not in moved.values())
    return tuple(labels[moved[place] if place in moved else next(rest)] for place in range(rank))


def permute(found: Trace, node: Node) -> Axes:
    """Axes in another order."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    return tuple(labels[axis] for axis in node.args[1])  # type: ignore[union-attr, index]


def transpose(found: Trace, node: Node) -> Axes:
    """Two axes exchanged."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    a, b = int(node.args[1]), int(node.args[2])  # type: ignore[arg-type]
    labels[a], labels[b] = labels[b], labels[a]
    return tuple(labels)


def matrix_transpose(found: Trace, node: Node) -> Axes:
    """The last two axes exchanged."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    return (*labels[:-2], labels[-1], labels[-2])


def reverse(found: Trace, node: Node) -> Axes:
    """All axes in the opposite order; a vector stays as it is."""
    return found.axes(node.args[0])[::-1]  # type: ignore[arg-type]


def unsqueeze(found: Trace, node: Node) -> Axes:
    """A new axis of length 1."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    labels.insert(int(node.args[1]) % (len(labels) + 1), None)  # type: ignore[arg-type]
    return tuple(labels)


def concatenate(found: Trace, node: Node) -> Axes:
    """Concatenation along channels strings their atoms together; along another axis channels meet."""
    sources = [source for source in node.args[0] if isinstance(source, Node)]  # type: ignore[union-attr]
    axis = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    axis %= len(shape(node))
    sources = [source for source in sources if shape(source) != (0,)]
    labels = [found.axes(source) for source in sources]
    out: list[Any] = list(labels[0])
    for other in labels[1:]:
        for index, label in enumerate(other):
            if index not in (0, axis):
                found.unite(out[index], label)
    if any(label[axis] is not None for label in labels):
        parts: list[Any] = [
            label[axis] if label[axis] is not None else single_channel(found, shape(source)[axis])
            for label, source in zip(labels, sources, strict=True)
        ]
        out[axis] = np.concatenate(parts)
    return tuple(out)
