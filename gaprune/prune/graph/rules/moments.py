"""Norms over channels: layer norm, group norm, RMS norm, instance norm.

What a mask means there: the moments are those of the kept channels. That is what torch's own module computes when its
channels are cut, so a compact network needs no module of ours, and a masked one is what the reference says
(``gaprune.prune.cut.masked``).
"""

from __future__ import annotations

from torch.fx import Node

from gaprune.prune.graph.atoms import Atoms
from gaprune.prune.graph.rules.attributes import hold
from gaprune.prune.graph.rules.common import arguments, others, per_indices
from gaprune.prune.graph.tracing import NOTHING, Axes, Elementwise, Masked, Trace, is_tensor, shape

AFFINE, PLAIN = 5, 4
"""FLOPs that fvcore counts for an element of these norms, with weights of their own and without."""


def layer_norm(found: Trace, node: Node) -> Axes:
    """Moments over the last axes, of the kept channels alone; weights meet them."""
    return _over_last(found, node, "layer_norm", counted=True)


def rms_norm(found: Trace, node: Node) -> Axes:
    """The same with the root of the mean square; fvcore does not count it."""
    return _over_last(found, node, "rms_norm", counted=False)


def group_norm(found: Trace, node: Node) -> Axes:
    """Moments over the kept channels of each group, of which as many stay: index j of each group at once."""
    call = arguments(node)
    source = node.args[0]
    assert isinstance(source, Node)
    data, groups = found.axes(source), int(call["num_groups"])
    _meet(found, node, data[1])
    atoms = data[1]
    if atoms is not None:
        if len(atoms) == groups:
            hold(found, node, "num_groups", atoms)
        for block in atoms.reshape(groups, -1)[1:] if len(atoms) > groups else ():
            found.atoms.unite(atoms[: len(block)], block)
        _count(found, node, source, 1, atoms)
    found.masked.append(Masked("group_norm", 1 - len(data), NOTHING if atoms is None else atoms, groups))
    return data


def instance_norm(found: Trace, node: Node) -> Axes:
    """Moments of each channel over its own map: channels go one by one, with all that is theirs."""
    source = node.args[0]
    assert isinstance(source, Node)
    data = found.axes(source)
    _meet(found, node, data[1])
    if data[1] is not None:
        hold(found, node, "num_features", data[1])
        _count(found, node, source, 1, data[1])
    return data


def _over_last(found: Trace, node: Node, call: str, *, counted: bool) -> Axes:
    given = arguments(node)
    source = node.args[0]
    assert isinstance(source, Node)
    data, last = found.axes(source), len(given["normalized_shape"])
    for name in ("weight", "bias"):
        if is_tensor(given.get(name)):
            own = found.axes(given[name])
            for label, atoms in zip(own, data[-last:], strict=True):
                found.unite(label, atoms)
    carrying = [axis for axis in range(-last, 0) if data[axis] is not None]
    if carrying and last > 1:
        found.freeze(tuple(data[axis] for axis in carrying), "a norm runs over several axes")
    seen = data[carrying[0]] if carrying else None
    found.masked.append(Masked(call, carrying[0] if carrying else -1, NOTHING if seen is None else seen, 1))
    if last == 1 and seen is not None:
        hold(found, node, "normalized_shape", seen)
    if counted:
        axis = carrying[0] if carrying else -1
        whole = data[axis]
        _count(found, node, source, axis, found.unlabelled(shape(source)[axis]) if whole is None else whole)
    return data


def _meet(found: Trace, node: Node, atoms: Atoms | None) -> None:
    """Weights, biases and running statistics meet the channels."""
    given = arguments(node)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if is_tensor(given.get(name)):
            found.unite(found.axes(given[name])[0], atoms)


def _count(found: Trace, node: Node, source: Node, axis: int, atoms: Atoms) -> None:
    factor, along = AFFINE if is_tensor(arguments(node).get("weight")) else PLAIN, others(found.axes(source), axis)
    found.elementwise.append(Elementwise((atoms, *along), factor * per_indices(source, axis, along)))
