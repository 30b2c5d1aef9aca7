"""Calls that take parts of an axis, or put axes together: chunks, slices, stacks, expansions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.rules.attributes import fit
from gaprune.prune.graph.rules.common import arguments
from gaprune.prune.graph.tracing import Axes, Trace, shape

WRITTEN = "a slice takes some of its channels, at places written into the forward"


def chunk(found: Trace, node: Node) -> list[Axes]:
    """Equal parts of an axis; of channels as many go from each, since a forward cuts them into equal parts.

    A forward that asks for so many chunks may have a shorter last one.
    """
    source = node.args[0]
    assert isinstance(source, Node)
    axis = int(arguments(node)["dim"]) % len(shape(source))
    return _parts(found, node, source, axis, [int(value.shape[axis]) for value in node.meta["val"]])


def _shorter_last(node: Node, sizes: list[int]) -> bool:
    """Whether these are as many chunks as were asked for, of which the last is the rest."""
    return arguments(node).get("chunks") == len(sizes) and len(set(sizes[:-1])) == 1 and sizes[-1] < sizes[0]


def unbind(found: Trace, node: Node) -> list[Axes]:
    """The indices of an axis, one by one: those of channels must stay."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    axis = int(arguments(node)["dim"]) % len(labels)
    found.freeze((labels[axis],), "its channels are taken one by one")
    return [(*labels[:axis], *labels[axis + 1 :]) for _ in node.meta["val"]]


def select(found: Trace, node: Node) -> Axes:
    """One index of an axis: that of a channel must stay, and so must those before it."""
    labels = found.axes(node.args[0])  # type: ignore[arg-type]
    axis = int(arguments(node)["dim"]) % len(labels)
    found.freeze((labels[axis],), "one of its channels is taken by its number")
    return (*labels[:axis], *labels[axis + 1 :])


def slice_axis(found: Trace, node: Node) -> Axes:
    """A slice along a plain axis passes; of channels as many go from each block as long as the slice.

    Where the module has a number that says where it is cut, that number is fitted, and all may go.
    """
    call = arguments(node)
    source = node.args[0]
    assert isinstance(source, Node)
    labels, sizes = list(found.axes(source)), shape(source)
    axis = int(call.get("dim") or 0) % len(labels)
    atoms, length = labels[axis], sizes[axis]
    if atoms is None or shape(node) == sizes:
        return tuple(labels)
    start = _place(call.get("start"), 0, length)
    stop = start + call["length"] if "length" in call else _place(call.get("end"), length, length)
    if int(call.get("step") or 1) != 1:
        found.freeze((atoms,), WRITTEN)
    elif not all(place in (0, length) or fit(found, node, atoms[:place]) for place in (start, stop)):
        _tie_blocks(found, atoms, start, stop)
    labels[axis] = atoms[start : stop : int(call.get("step") or 1)]
    return tuple(labels)


def stack(found: Trace, node: Node) -> Axes:
    """Tensors side by side on a new axis: their channels meet."""
    sources = [source for source in node.args[0] if isinstance(source, Node)]  # type: ignore[union-attr]
    labels = [found.axes(source) for source in sources]
    for other in labels[1:]:
        for index, label in enumerate(other):
            if index or label is not None:
                found.unite(labels[0][index], label)
    out: list[Atoms | None] = list(labels[0])
    out.insert(int(arguments(node)["dim"]) % (len(out) + 1), None)
    return tuple(out)


def expand(found: Trace, node: Node) -> Axes:
    """An axis of length 1 becomes as long as wanted, by channels of its own: they go where what they meet does."""
    source = node.args[0]
    assert isinstance(source, Node)
    new, old, labels = shape(node), shape(source), found.axes(source)
    missing = len(new) - len(old)
    out: list[Atoms | None] = [*[None] * missing, *labels]
    for axis in range(1, len(new)):
        if new[axis] > 1 and (axis < missing or old[axis - missing] == 1):
            out[axis] = found.atoms.new(new[axis])
    return tuple(out)


def repeat(found: Trace, node: Node) -> Axes:
    """An axis several times over."""
    source = node.args[0]
    assert isinstance(source, Node)
    times = list(node.args[1])  # type: ignore[arg-type]
    missing = len(times) - len(shape(source))
    out: list[Atoms | None] = [*[None] * missing, *found.axes(source)]
    return tuple(None if atoms is None else np.tile(atoms, int(n)) for atoms, n in zip(out, times, strict=True))


def _parts(found: Trace, node: Node, source: Node, axis: int, sizes: list[int]) -> list[Axes]:
    labels = found.axes(source)
    atoms = labels[axis]
    if atoms is None:
        return [labels] * len(sizes)
    starts = np.cumsum([0, *sizes])
    blocks = [atoms[start:stop] for start, stop in pairwise(starts)]
    if len(set(sizes)) == 1:
        for block in blocks[1:]:
            found.atoms.unite(blocks[0], block)
    elif _shorter_last(node, sizes):
        # Of k chunks the last lacks fewer than k channels, whatever goes; none is empty while it has a part in all.
        last = np.resize(blocks[-1], sizes[0])
        for block in blocks[:-1]:
            found.atoms.unite(last, block)
    else:
        found.freeze((atoms,), "it is split into unequal parts")
    fit(found, node, blocks[0])
    fit(found, node, atoms)
    return [(*labels[:axis], block, *labels[axis + 1 :]) for block in blocks]


def _tie_blocks(found: Trace, atoms: Atoms, start: int, stop: int) -> None:
    """Let index j of every block of a slice's length live or die together; where blocks do not fit, all must stay."""
    width = stop - start
    if width < 2 or len(atoms) % width or start % width:
        found.freeze((atoms,), WRITTEN)
        return
    blocks = atoms.reshape(-1, width)
    for block in blocks[1:]:
        found.atoms.unite(blocks[0], block)


def _place(value: Any, default: int, length: int) -> int:
    """Where a slice begins or ends, from 0 to ``length``."""
    place = default if value is None else int(value)
    return min(max(place + length if place < 0 else place, 0), length)
