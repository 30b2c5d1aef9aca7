"""Calls that rearrange axes: padding, reductions, reshapes, permutations, concatenation, slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.fx import Node

from gaprune.prune.graph.rules.common import arguments, single_channel
from gaprune.prune.graph.tracing import Axes, Trace, leave, repeat_within, shape


def pad(found: Trace, node: Node) -> Any:
    """Padding of height and width passes; padded channels are new and stay."""
    source, amounts = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    assert isinstance(source, Node)
    labels: list[Any] = list(found.axes(source))
    for step in range(len(amounts) // 2):
        axis = len(labels) - 1 - step
        before, after = amounts[2 * step], amounts[2 * step + 1]
        if labels[axis] is not None and (before or after):
            if before < 0 or after < 0:
                return leave(found, node, "padding cuts channels off")
            found.freeze((labels[axis],), "channels are padded")
            labels[axis] = np.concatenate([_padded(found, before), labels[axis], _padded(found, after)])
    return tuple(labels)


def _padded(found: Trace, count: int) -> Any:
    atoms = found.atoms.new(count)
    found.atoms.freeze(atoms, "it is padding")
    return atoms


def reduce(found: Trace, node: Node) -> Any:
    """Mean, sum and the like over some axes: over channels they must all stay."""
    call = arguments(node)
    source = node.args[0]
    assert isinstance(source, Node)
    labels = found.axes(source)
    rank = len(labels)
    over = call.get("dim")
    axes = list(range(rank)) if over in (None, []) else [over] if isinstance(over, int) else list(over)
    axes = [axis % rank for axis in axes]
    if any(labels[axis] is not None for axis in axes):
        return leave(found, node, "a reduction runs over its channels")
    if call.get("keepdim"):
        return labels
    return tuple(label for axis, label in enumerate(labels) if axis not in axes)


def reshape(found: Trace, node: Node) -> Any:
    """View, reshape and flatten: merged axes repeat their atoms; channels that are split apart must stay."""
    source = node.args[0]
    assert isinstance(source, Node)
    labels, old, new = found.axes(source), shape(source), shape(node)
    out: list[Any] = []
    for olds, news in _aligned(old, new):
        carrying = [axis for axis in olds if labels[axis] is not None]
        if not carrying:
            out += [None] * len(news)
        elif len(carrying) == 1 and len([axis for axis in news if new[axis] > 1]) == 1:
            merged = repeat_within(labels[carrying[0]], tuple(old[a] for a in olds), olds.index(carrying[0]))  # type: ignore[arg-type]
            out += [merged if new[axis] > 1 else None for axis in news]
        else:
            return leave(found, node, "a reshape splits or mixes its channels")
    return tuple(out)


def _aligned(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Pair runs of old axes with the runs of new axes that hold the same elements."""
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds, news = [], []
        left = right = 1
        if i < len(old):
            olds.append(i)
            left, i = old[i], i + 1
        if j < len(new):
            news.append(j)
            right, j = new[j], j + 1
        while left != right:
            if left < right:
                olds.append(i)
                left, i = left * old[i], i + 1
            else:
                news.append(j)
                right, j = right * new[j], j + 1
        pairs.append((olds, news))
    return pairs


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


def slice_axis(found: Trace, node: Node) -> Any:
    """A slice along a plain axis passes; a slice of channels keeps them all."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    axis = int(node.args[1]) if len(node.args) > 1 else 0  # type: ignore[arg-type]
    if labels[axis] is not None and shape(node) != shape(node.args[0]):  # type: ignore[arg-type]
        return leave(found, node, "a slice takes some of its channels")
    return labels
