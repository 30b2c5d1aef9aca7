"""Calls that lay axes out anew: views, channel and pixel shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.rules.attributes import fit, heads
from gaprune.prune.graph.rules.common import arguments
from gaprune.prune.graph.tracing import Axes, Trace, shape

Labels = list[Atoms | None]


def reshape(found: Trace, node: Node) -> Axes:
    """View, reshape and flatten: axes are split into the finest ones that old and new shape share, and merged again.

    Merged axes repeat their atoms. Channels that are split carry on along the longest of the new axes, and are alike
    along the others; heads carry on, too.
    """
    source = node.args[0]
    assert isinstance(source, Node)
    labels, old, new = found.axes(source), shape(source), shape(node)
    out: Labels = []
    for olds, news in _aligned(old, new):
        sizes = _finest([old[axis] for axis in olds], [new[axis] for axis in news])
        fine: Labels = []
        for axis, own in zip(olds, _shared(sizes, [old[axis] for axis in olds]), strict=True):
            fine += _split(found, node, labels[axis], own)
        for own in _shared(sizes, [new[axis] for axis in news]):
            out.append(found.merge(fine[: len(own)], own) if prod(own) > 1 else None)
            fine = fine[len(own) :]
    several, before = heads(found, node), set[int]()
    for atoms in out:
        if atoms is not None:  # where a head has as many features as there are heads, heads come first
            fit(found, node, atoms, of_heads=len(atoms) in several - before)
            before.add(len(atoms))
    return tuple(out)


def channel_shuffle(found: Trace, node: Node) -> Axes:
    """Channels as (groups, c), exchanged, and flat again: index j of each group lives or dies together."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    groups = int(arguments(node)["groups"])
    if labels[1] is not None:
        sizes = (groups, len(labels[1]) // groups)
        _, inside = found.split(labels[1], sizes, (1,))
        labels[1] = found.merge([inside, None], (sizes[1], groups))
    return tuple(labels)


def pixel_shuffle(found: Trace, node: Node) -> Axes:
    """Channels as (c, r, r), the latter becoming pixels: those of one pixel live or die together."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    area = int(arguments(node)["upscale_factor"]) ** 2
    if labels[-3] is not None:
        labels[-3] = found.split(labels[-3], (len(labels[-3]) // area, area), (0,))[0]
    return (*labels[:-2], None, None)


def pixel_unshuffle(found: Trace, node: Node) -> Axes:
    """Pixels become channels, r x r for each that there is."""
    labels = list(found.axes(node.args[0]))  # type: ignore[arg-type]
    area = int(arguments(node)["downscale_factor"]) ** 2
    if labels[-3] is not None:
        labels[-3] = found.merge([labels[-3], None], (len(labels[-3]), area))
    return (*labels[:-2], None, None)


def _split(found: Trace, node: Node, atoms: Atoms | None, sizes: Sequence[int]) -> Labels:
    """The labels of the finest axes of one old axis."""
    longer = [axis for axis, size in enumerate(sizes) if size > 1]
    if atoms is None or not longer:
        return [None] * len(sizes)
    if len(longer) == 1:
        return [atoms if axis == longer[0] else None for axis in range(len(sizes))]
    own = _repeated(found, atoms, sizes)
    if own is not None:
        return own
    longest = max(longer, key=lambda axis: (sizes[axis], axis))
    several = heads(found, node)
    of_heads = [axis for axis in longer[:-1] if sizes[axis] in several][-1:]
    if of_heads and longest in of_heads:
        longest = longer[-1]
    return found.split(atoms, sizes, sorted({longest, *of_heads}))


def _repeated(found: Trace, atoms: Atoms, sizes: Sequence[int]) -> Labels | None:
    """The labels of new axes of which one alone carries channels, as they were repeated along the others before."""
    laid_out, roots = atoms.reshape(sizes), found.atoms.roots(atoms).reshape(sizes)
    varying = [axis for axis in range(len(sizes)) if (roots != roots.take([0], axis)).any()]
    if len(varying) != 1:
        return None
    (axis,) = varying
    first = np.moveaxis(laid_out, axis, -1).reshape(-1, sizes[axis])[0]
    return [first if place == axis else None for place in range(len(sizes))]


def _finest(old: Sequence[int], new: Sequence[int]) -> list[int]:
    """Sizes of the axes that both shapes are laid out of.

    Raises:
        ValueError: there are none.
    """
    ends = sorted({*np.cumprod([1, *old]).tolist(), *np.cumprod([1, *new]).tolist()})
    if any(after % before for before, after in pairwise(ends)):
        raise ValueError("a reshape mixes its channels")
    return [after // before for before, after in pairwise(ends)]


def _shared(sizes: Sequence[int], axes: Sequence[int]) -> list[list[int]]:
    """The finest axes of each axis; none for an axis of length 1."""
    left, found = list(sizes), []
    for size in axes:
        own: list[int] = []
        while prod(own) < size:
            own.append(left.pop(0))
        found.append(own)
    return found


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
