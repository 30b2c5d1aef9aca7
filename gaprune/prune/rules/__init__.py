"""How each ATen operator carries atoms from its inputs to its output: one small rule an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from gaprune.prune.rules.layers import batch_norm, convolution, linear, prelu
from gaprune.prune.rules.pointwise import counted, elementwise, pool_with_indices, spatial, unary
from gaprune.prune.rules.shapes import concatenate, pad, permute, reduce, reshape, slice_axis, transpose, unsqueeze
from gaprune.prune.tracing import Rule, Trace

aten = torch.ops.aten


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
    add(batch_norm, "batch_norm")
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
