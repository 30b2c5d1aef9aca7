"""Calls with weights of their own: convolutions, linear layers, batch norm, PReLU."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from gaprune.prune.graph.rules.common import arguments, others, per_index, per_indices, single_channel
from gaprune.prune.graph.rules.norms import sole_norm
from gaprune.prune.graph.tensors import sole_convolution, was_grouped
from gaprune.prune.graph.tracing import (
    FED,
    Axes,
    Elementwise,
    Masked,
    Trace,
    Use,
    is_tensor,
    layer_of,
    shape,
)


def convolution(found: Trace, node: Node) -> Axes:
    """Inputs meet the weight's axis 1, outputs are its axis 0; grouped ones tie index j of every group."""
    call, sees = arguments(node), found.sees("convolution")
    source, weight, groups = call["input"], call["weight"], int(call.get("groups") or 1)
    data = found.axes(source)
    inputs = data[1]
    out, per_group, *taps = shape(weight)
    channels = per_group * groups
    if inputs is None:  # a single input channel carries no atoms
        inputs = found.atoms.new(channels)
        found.atoms.freeze(inputs, "it is a single channel")
    name, computed = weight_of(found, weight)
    depthwise = groups > 1 and per_group == 1 and not was_grouped(found.model, name)
    dense = groups == 1
    weight_axes = found.axes(weight) if computed else found.parameter(weight, (0, 1) if not depthwise else (0,))
    alone = sole_convolution(found.model, name)
    if depthwise and not alone:
        raise ValueError("its groups are not those of one convolution module")
    outputs = weight_axes[0]
    if outputs is None:  # a single output channel can never go
        outputs = found.atoms.new(out)
        found.atoms.freeze(outputs, "it is a single channel")
    if dense:
        found.unite(weight_axes[1], inputs)
    elif depthwise:
        found.atoms.unite(np.repeat(inputs, out // channels), outputs)
    else:
        _tie_groups(found, inputs, outputs, weight_axes, groups)
    if is_tensor(call.get("bias")):
        (bias,) = found.axes(call["bias"])
        if bias is not None:
            found.unite(bias, outputs)
    beside = _slid_over(found, node, data, sees)
    along = tuple(atoms for atoms in beside if atoms is not None)
    kind = "dense" if dense else "depthwise" if depthwise else "grouped"
    found.uses.append(
        Use(
            layer=layer_of(node),
            weight=name,
            convolution=True,
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            groups=groups,
            kernel=prod(taps),
            positions=per_indices(node, 1, along),
            splittable=alone and not computed,
            along=along,
            computed=computed,
        )
    )
    if computed and not depthwise:
        found.masked[sees] = Masked("convolution", 1 - len(data), inputs, 1)
    return (None, outputs, *beside)


def _slid_over(found: Trace, node: Node, data: Axes, sees: int) -> Axes:
    """The labels of a convolution's axes of positions: channels, where one slides over those that are kept."""
    over = [axis for axis in range(2, len(data)) if data[axis] is not None]
    source, weight = arguments(node)["input"], arguments(node)["weight"]
    if len(over) == 1 and data[1] is None and shape(weight)[1] == 1 and shape(source)[2:] == shape(node)[2:]:
        found.masked[sees] = Masked("convolution", over[0] - len(data), data[over[0]], 1)  # type: ignore[arg-type]
        return data[2:]
    found.freeze(data[2:], "a convolution slides over its channels")
    return (None,) * (len(data) - 2)


def _tie_groups(found: Trace, inputs: Any, outputs: Any, weight_axes: Axes, groups: int) -> None:
    rows = inputs.reshape(groups, -1)
    for row in rows[1:]:
        found.atoms.unite(rows[0], row)
    if weight_axes[1] is not None:
        found.atoms.unite(rows[0], weight_axes[1])
    else:
        found.atoms.freeze(inputs, "its convolution has one channel a group")
    blocks = outputs.reshape(groups, -1)
    for block in blocks[1:]:
        found.atoms.unite(blocks[0], block)


def conv_transpose(found: Trace, node: Node) -> Axes:
    """Inputs meet the weight's axis 0, outputs are its axis 1; grouped ones keep their groups whole."""
    call = arguments(node)
    data = found.axes(call["input"])
    groups = int(call.get("groups") or 1)
    channels, per_group, *taps = shape(call["weight"])
    if groups > 1:
        raise ValueError("it is a transposed convolution of several groups")
    first, second = found.parameter(call["weight"], (0, 1))[:2]
    inputs = data[1] if data[1] is not None else single_channel(found, channels)
    outputs = second if second is not None else single_channel(found, per_group)
    if first is not None:
        found.unite(first, inputs)
    if is_tensor(call.get("bias")):
        (bias,) = found.parameter(call["bias"], (0,))
        if bias is not None:
            found.unite(bias, outputs)
    found.uses.append(
        Use(
            layer=layer_of(node),
            weight=found.names[call["weight"]],
            convolution=True,
            kind="transposed",
            inputs=inputs,
            outputs=outputs,
            groups=1,
            kernel=prod(taps),
            positions=per_index(call["input"], 1),
            splittable=False,
        )
    )
    return (None, outputs, *(None for _ in taps))


def linear(found: Trace, node: Node) -> Axes:
    """The last axis meets the weight's axis 1; outputs are its axis 0, which may go where the walk says so."""
    call, sees = arguments(node), found.sees("linear")
    data = found.axes(call["input"])
    out, into = shape(call["weight"])
    name, computed = weight_of(found, call["weight"])
    weight_axes = found.axes(call["weight"])
    found.unite(data[-1], weight_axes[1])
    outputs = weight_axes[0]
    if outputs is not None:
        if not found.linear:
            found.atoms.freeze(outputs, "it is an output of a linear layer")
        if is_tensor(call.get("bias")):
            found.unite(found.axes(call["bias"])[0], outputs)
    if data[-1] is not None or found.linear:
        found.uses.append(
            Use(
                layer=layer_of(node),
                weight=name,
                convolution=False,
                kind="dense",
                inputs=data[-1] if data[-1] is not None else single_channel(found, into),
                outputs=outputs if outputs is not None else single_channel(found, out),
                groups=1,
                kernel=1,
                positions=per_indices(node, -1, others(data, -1)),
                splittable=False,
                along=others(data, -1),
                computed=computed,
            )
        )
    if computed and data[-1] is not None:
        found.masked[sees] = Masked("linear", -1, data[-1], 1)
    return (*data[:-1], outputs)


def weight_of(found: Trace, node: Node) -> tuple[str, bool]:
    """The name of a layer's weight, and whether it is computed at each call: of what it is computed from, then.

    That is a tensor of its shape, or one of which it is some rows, such as the queries' of attention.

    Raises:
        ValueError: it is computed from the images, or from no such tensor.
    """
    if node in found.names:
        return found.names[node], False
    reached = [node]
    for one in () if node.meta[FED] else reached:
        if one in found.names and shape(one)[1:] == shape(node)[1:] and shape(one)[0] >= shape(node)[0]:
            return found.names[one], True
        reached += [source for source in one.all_input_nodes if source not in reached]
    raise ValueError(f"{node} is computed, not a parameter")


def batch_norm(found: Trace, node: Node) -> Axes:
    """Channels meet each of weight, bias, running mean and running variance."""
    call, sees = arguments(node), found.sees("batch_norm")
    data = found.axes(call["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if is_tensor(call.get(name)):
            found.unite(found.axes(call[name])[0], data[1])
    if call.get("training"):
        _moments_over(found, data, sees)
    if data[1] is not None:
        plain, affine = (4, 5) if call.get("training") else (1, 2)
        factor = affine if is_tensor(call.get("weight")) else plain
        along = others(data, 1)
        found.elementwise.append(Elementwise((data[1], *along), factor * per_indices(call["input"], 1, along)))
    pair = sole_norm(found, node)
    if pair is not None:
        found.norms.append(pair)
    return data


def _moments_over(found: Trace, data: Axes, sees: int) -> None:
    """Moments of a call run over another axis of channels, too, as they do where a weight is standardised."""
    over = [(axis, atoms) for axis, atoms in enumerate(data) if axis > 1 and atoms is not None]
    if len(over) > 1:
        found.freeze(tuple(atoms for _, atoms in over), "a norm runs over several axes")
    elif over:
        (axis, atoms) = over[0]
        if len(np.unique(atoms)) == len(atoms) and len(data[0] if data[0] is not None else ()) < 2:
            found.several.append(atoms)
        found.masked[sees] = Masked("batch_norm", axis - len(data), atoms, 1)


def prelu(found: Trace, node: Node) -> Axes:
    """A slope per channel meets the channels; a single slope meets nothing."""
    source, slope = node.args[:2]
    assert isinstance(source, Node)
    assert isinstance(slope, Node)
    data = found.axes(source)
    label = found.parameter(slope, (0,))[0] if slope in found.names else found.axes(slope)[0]
    if label is not None:
        found.unite(label, data[1])
    return data


def weight_norm(found: Trace, node: Node) -> Axes:
    """Directions and lengths of a weight: the norm of what was removed is zero."""
    call = arguments(node)
    directions, lengths = found.axes(call["v"]), found.axes(call["g"])
    for own, length in zip(directions, lengths, strict=True):
        if length is not None:
            found.unite(own, length)
    return directions
