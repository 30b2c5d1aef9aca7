"""What several rules need of a call."""

from __future__ import annotations

from math import prod
from typing import Any

from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.tracing import BATCH, Trace, shape


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


def per_index(node: Node, axis: int) -> int:
    """Elements of one image at one index of an axis, wherever the batch has gone to."""
    sizes = shape(node)
    images = 1 if sizes[0] % BATCH else BATCH  # a constant that all images share has no batch
    return prod(sizes) // (sizes[axis] * images)
