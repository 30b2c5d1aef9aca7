"""What several rules need of a call."""

from __future__ import annotations

from math import prod
from typing import Any

from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.inputs import BATCH
from gaprune.prune.graph.tracing import FED, Axes, Trace, shape


def arguments(node: Node) -> dict[str, Any]:
    """The call's arguments by the names of the operator's schema, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    found = {a.name: a.default_value if a.has_default_value() else None for a in schema.arguments}
    found.update(zip(found, node.args, strict=False))
    found.update(node.kwargs)
    return found


def single_channel(found: Trace, count: int) -> Atoms:
    """``count`` fresh atoms of a single channel, which can never go."""
    atoms = found.atoms.new(count)
    found.atoms.freeze(atoms, "it is a single channel")
    return atoms


def others(labels: Axes, axis: int) -> tuple[Atoms, ...]:
    """The atoms of all axes of one image but ``axis`` that carry any."""
    left = [label for place, label in enumerate(labels) if place != axis % len(labels)]
    if axis % len(labels) and left[0] is not None:  # of the batch's axis those of one image
        left[0] = left[0][: max(len(left[0]) // BATCH, 1)]
    return tuple(label for label in left if label is not None)


def images_in(*nodes: Node) -> int:
    """Images that calls are about, wherever their axis has gone to: 1 of constants, which all images share."""
    return BATCH if any(node.meta.get(FED) and prod(shape(node)) % BATCH == 0 for node in nodes) else 1


def per_index(node: Node, axis: int) -> int:
    """Elements of one image at one index of an axis."""
    sizes = shape(node)
    return prod(sizes) // (sizes[axis] * images_in(node))


def per_indices(node: Node, axis: int, along: tuple[Atoms, ...]) -> int:
    """Elements of one image at one index of an axis and of each of the axes ``along``."""
    return per_index(node, axis) // prod(map(len, along))
