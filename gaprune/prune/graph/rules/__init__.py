"""How each ATen operator carries atoms from its inputs to its output: one small rule an operator."""

from __future__ import annotations

from typing import Any

import torch

from gaprune.prune.graph.rules.layers import batch_norm, convolution, linear, prelu
from gaprune.prune.graph.rules.pointwise import counted, elementwise, pool_with_indices, spatial, unary
from gaprune.prune.graph.rules.shapes import (
    concatenate,
    pad,
    permute,
    reduce,
    reshape,
    slice_axis,
    transpose,
    unsqueeze,
)
from gaprune.prune.graph.tracing import Rule

NAMES: tuple[tuple[Rule, str], ...] = (
    (convolution, "conv1d conv2d conv3d"),
    (linear, "linear"),
    (batch_norm, "batch_norm"),
    (prelu, "prelu"),
    (unary, "relu relu_ relu6 relu6_ hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_"),
    (unary, "gelu gelu_ silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_ hardsigmoid"),
    (unary, "hardsigmoid_ softplus exp abs neg sqrt rsqrt square dropout dropout_ feature_dropout"),
    (unary, "clone contiguous detach detach_ alias to _to_copy"),
    (elementwise, "add add_ sub sub_ rsub mul mul_ div div_ pow maximum minimum clamp clamp_ clamp_min clamp_max"),
    (spatial, "max_pool2d avg_pool2d upsample_bicubic2d"),
    (pool_with_indices, "max_pool2d_with_indices adaptive_max_pool2d"),
    (counted(1, 0), "adaptive_avg_pool2d _adaptive_avg_pool2d"),
    (counted(0, 1), "upsample_nearest2d"),
    (counted(0, 4), "upsample_bilinear2d"),
    (pad, "pad constant_pad_nd reflection_pad2d replication_pad2d"),
    (reduce, "mean sum amax amin var std"),
    (reshape, "view reshape flatten _unsafe_view squeeze unflatten"),
    (permute, "permute"),
    (transpose, "transpose"),
    (unsqueeze, "unsqueeze"),
    (concatenate, "cat concat concatenate"),
    (slice_axis, "slice narrow"),
)
"""Each rule with the ATen operators that it serves, all overloads of them."""


def _by_overload() -> dict[Any, Rule]:
    packets = [(getattr(torch.ops.aten, name), rule) for rule, names in NAMES for name in names.split()]
    return {getattr(packet, overload): rule for packet, rule in packets for overload in packet.overloads()}


RULES: dict[Any, Rule] = _by_overload()
"""The rule of each operator overload that is understood."""
