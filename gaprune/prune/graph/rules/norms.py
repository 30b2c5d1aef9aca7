"""Which batch norms read one convolution and nothing else, so that they can be folded into it."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from gaprune.prune.graph.rules.common import arguments
from gaprune.prune.graph.tracing import Norm, Trace, is_tensor, layer_of

CONVOLUTIONS = (torch.ops.aten.conv1d, torch.ops.aten.conv2d, torch.ops.aten.conv3d)
RECTIFIERS = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
CLAMPS = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)
HARD_SWISHES = (torch.ops.aten.hardswish.default, torch.ops.aten.hardswish_.default)
HARD_SWISH_FROM = -3.0


def sole_norm(found: Trace, node: Node) -> Norm | None:
    """The pair of a convolution and the batch norm ``node``, if neither serves anything else.

    Each must be called once, by the module that owns all of its tensors, and the norm alone must read the
    convolution's output.
    """
    source = node.args[0]
    if not isinstance(source, Node) or getattr(source.target, "overloadpacket", None) not in CONVOLUTIONS:
        return None
    convolution = _owner(found, source, "weight", "bias")
    norm = _owner(found, node, "weight", "bias", "running_mean", "running_var")
    if convolution is None or norm is None or set(source.users) != {node}:
        return None
    bounds = _bounds(list(node.users))
    return Norm(convolution, norm, bounds == (0.0, math.inf), bounds)


def _bounds(users: list[Node]) -> tuple[float, float] | None:
    """Where an activation that alone reads a norm is flat: up to the first, and from the second on."""
    if len(users) != 1:
        return None
    target, given = users[0].target, arguments(users[0])
    if target in RECTIFIERS:
        return 0.0, math.inf
    if target in CLAMPS:  # ReLU6 is one of them
        return float(given["min_val"]), float(given["max_val"])
    return (HARD_SWISH_FROM, math.inf) if target in HARD_SWISHES else None


def _owner(found: Trace, node: Node, *names: str) -> str | None:
    """The path of the module that makes the call, if the call's tensors are its own and used nowhere else."""
    call = arguments(node)
    tensors = {found.names.get(call[name], ""): name for name in names if is_tensor(call.get(name))}
    paths = {name.rpartition(".")[0] for name in tensors}
    if len(paths) != 1 or not all(_used_once(found, name) for name in tensors):
        return None
    (path,) = paths
    caller = dict(found.model.named_modules(remove_duplicate=False)).get(layer_of(node))
    return path if path and caller is found.model.get_submodule(path) else None


def _used_once(found: Trace, name: str) -> bool:
    """Whether one call alone reads a tensor, under whatever names it is registered."""
    return sum(len(node.users) for node, first in found.names.items() if first == name) == 1
