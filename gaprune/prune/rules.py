"""How each ATen operator carries atoms from its inputs to its output: one small rule an operator."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from gaprune.prune.atoms import Atoms
from gaprune.prune.tensors import sole_convolution
from gaprune.prune.tracing import (
    BATCH,
    Axes,
    Elementwise,
    Rule,
    Trace,
    Use,
    is_tensor,
    layer_of,
    leave,
    repeat_within,
    shape,
)

aten = torch.ops.aten


def _arguments(node: Node) -> dict[str, Any]:
    """The call's arguments by the names of the operator's schema, defaults filled in."""
    schema = node.target._schema  # type: ignore[union-attr]
    found = {a.name: a.default_value if a.has_default_value() else None for a in schema.arguments}
    found.update(zip(found, node.args, strict=False))
    found.update(node.kwargs)
    return found


def convolution(found: Trace, node: Node) -> Axes:
    """Inputs meet the weight's axis 1, outputs are its axis 0; grouped ones tie index j of every group."""
    call = _arguments(node)
    source, weight, groups = call["input"], call["weight"], int(call.get("groups") or 1)
    data = found.axes(source)
    inputs = data[1]
    out, per_group, *taps = shape(weight)
    channels = per_group * groups
    if inputs is None:  # a single input channel carries no atoms
        inputs = found.atoms.new(channels)
        found.atoms.freeze(inputs, "it is a single channel")
    depthwise = groups > 1 and per_group == 1
    dense = groups == 1
    weight_axes = found.parameter(weight, (0, 1) if not depthwise else (0,))
    alone = sole_convolution(found.model, found.names[weight])
    if depthwise and not alone:
        raise ValueError("its groups are not those of one convolution module")
    outputs = weight_axes[0]
    if outputs is None:  # a single output channel can never go
        outputs = found.atoms.new(out)
        found.atoms.freeze(outputs, "it is a single channel")
    if dense:
        if weight_axes[1] is not None:
            found.unite(weight_axes[1], inputs)
    elif depthwise:
        found.atoms.unite(np.repeat(inputs, out // channels), outputs)
    else:
        _tie_groups(found, inputs, outputs, weight_axes, groups)
    if is_tensor(call.get("bias")):
        (bias,) = found.parameter(call["bias"], (0,))
        if bias is not None:
            found.unite(bias, outputs)
    kind = "dense" if dense else "depthwise" if depthwise else "grouped"
    found.uses.append(
        Use(
            layer=layer_of(node),
            weight=found.names[weight],
            convolution=True,
            kind=kind,
            inputs=inputs,
            outputs=outputs,
            groups=groups,
            kernel=prod(taps),
            positions=_per_index(node, 1),
            splittable=alone,
        )
    )
    return (None, outputs, *(None for _ in taps))


def _per_index(node: Node, axis: int) -> int:
    """Elements of one image at one index of an axis, wherever the batch has gone to."""
    sizes = shape(node)
    images = 1 if sizes[0] % BATCH else BATCH  # a constant that all images share has no batch
    return prod(sizes) // (sizes[axis] * images)


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


def linear(found: Trace, node: Node) -> Axes:
    """The last axis meets the weight's axis 1; the outputs stay (neurons are a convolution's)."""
    call = _arguments(node)
    data = found.axes(call["input"])
    out = shape(call["weight"])[0]
    weight_axes = found.parameter(call["weight"], (0, 1))
    found.unite(data[-1], weight_axes[1])
    outputs = weight_axes[0]
    if outputs is not None:
        found.atoms.freeze(outputs, "it is an output of a linear layer")
        if is_tensor(call.get("bias")):
            found.unite(found.parameter(call["bias"], (0,))[0], outputs)
    if data[-1] is not None:
        found.uses.append(
            Use(
                layer=layer_of(node),
                weight=found.names[call["weight"]],
                convolution=False,
                kind="dense",
                inputs=data[-1],
                outputs=outputs if outputs is not None else _single(found, out),
                groups=1,
                kernel=1,
                positions=_per_index(node, -1),
                splittable=False,
            )
        )
    return (*data[:-1], outputs)


def _single(found: Trace, count: int) -> Any:
    atoms = found.atoms.new(count)
    found.atoms.freeze(atoms, "it is a single channel")
    return atoms


def batch_norm(found: Trace, node: Node) -> Axes:
    """Channels meet each of weight, bias, running mean and running variance."""
    call = _arguments(node)
    data = found.axes(call["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if is_tensor(call.get(name)):
            found.unite(found.parameter(call[name], (0,))[0], data[1])
    if data[1] is not None:
        plain, affine = (4, 5) if call.get("training") else (1, 2)
        factor = affine if is_tensor(call.get("weight")) else plain
        found.elementwise.append(Elementwise(data[1], factor * _per_index(call["input"], 1)))
    return data


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


def spatial(found: Trace, node: Node) -> Axes:
    """Pooling and resizing: height and width change, channels do not."""
    data = found.axes(node.args[0])  # type: ignore[arg-type]
    if any(label is not None for label in data[-2:]):
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
            elements = per_input * _per_index(source, 1) + per_output * _per_index(node, 1)
            found.elementwise.append(Elementwise(data[1], elements))
        return spatial(found, node)

    return rule


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
    call = _arguments(node)
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
            label[axis] if label[axis] is not None else _single(found, shape(source)[axis])
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


def _table() -> dict[Any, Rule]:
    """The rule of each operator that is understood."""
    rules: dict[Any, Rule] = {}

    def add(rule: Callable[[Trace, Node], Any], *names: str) -> None:
        for name in names:
            packet = getattr(aten, name, None)
            for overload in packet.overloads() if packet is not None else ():
                rules[getattr(packet, overload)] = rule

    add(convolution, "conv1d", "conv2d", "conv3d")
    add(linear, "linear")
    add(batch_norm, "batch_norm", "_native_batch_norm_legit_no_training")
    add(unary, "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_")
    add(
        unary,
        "elu",
        "elu_",
        "selu",
        "selu_",
        "celu",
        "celu_",
        "gelu",
        "gelu_",
        "silu",
        "silu_",
        "mish",
        "mish_",
    )
    add(
        unary,
        "sigmoid",
        "sigmoid_",
        "tanh",
        "tanh_",
        "hardswish",
        "hardswish_",
        "hardsigmoid",
        "hardsigmoid_",
    )
    add(
        unary,
        "softplus",
        "exp",
        "abs",
        "neg",
        "sqrt",
        "rsqrt",
        "square",
        "dropout",
        "dropout_",
    )
    add(unary, "feature_dropout", "clone", "contiguous", "detach", "detach_", "alias", "to", "_to_copy")
    add(elementwise, "add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "maximum", "minimum")
    add(elementwise, "rsub", "pow", "clamp", "clamp_", "clamp_min", "clamp_max")
    add(prelu, "prelu")
    add(spatial, "max_pool2d", "avg_pool2d", "upsample_bicubic2d")
    add(pool_with_indices, "max_pool2d_with_indices", "adaptive_max_pool2d")
    add(counted(1, 0), "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
    add(counted(0, 1), "upsample_nearest2d")
    add(counted(0, 4), "upsample_bilinear2d")
    add(pad, "pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
    add(reduce, "mean", "sum", "amax", "amin", "var", "std")
    add(reshape, "view", "reshape", "flatten", "_unsafe_view", "squeeze", "unflatten")
    add(permute, "permute")
    add(transpose, "transpose")
    add(unsqueeze, "unsqueeze")
    add(concatenate, "cat", "concat", "concatenate")
    add(slice_axis, "slice", "narrow")
    return rules


RULES: dict[Any, Rule] = _table()
