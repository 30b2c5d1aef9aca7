"""How each ATen operator carries atoms from its inputs to its output: one small rule an operator."""

from __future__ import annotations

from typing import Any

import torch

from gaprune.prune.graph.rules.layers import batch_norm, conv_transpose, convolution, linear, prelu, weight_norm
from gaprune.prune.graph.rules.moments import group_norm, instance_norm, layer_norm, rms_norm
from gaprune.prune.graph.rules.pointwise import counted, elementwise, gate, made, pool_with_indices, spatial, unary
from gaprune.prune.graph.rules.products import attention, einsum, matmul
from gaprune.prune.graph.rules.reshaping import channel_shuffle, pixel_shuffle, pixel_unshuffle, reshape
from gaprune.prune.graph.rules.shapes import (
    along,
    concatenate,
    extreme,
    flip,
    index,
    index_select,
    matrix_transpose,
    movedim,
    norm,
    pad,
    permute,
    place,
    reduce,
    reverse,
    transpose,
    unsqueeze,
)
from gaprune.prune.graph.rules.slicing import chunk, expand, repeat, select, slice_axis, stack, unbind
from gaprune.prune.graph.tracing import Rule

NAMES: tuple[tuple[Rule, str], ...] = (
    (convolution, "conv1d conv2d conv3d"),
    (conv_transpose, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (linear, "linear"),
    (batch_norm, "batch_norm"),
    (layer_norm, "layer_norm"),
    (rms_norm, "rms_norm"),
    (group_norm, "group_norm"),
    (instance_norm, "instance_norm"),
    (prelu, "prelu"),
    (unary, "relu relu_ relu6 relu6_ hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_"),
    (unary, "gelu gelu_ silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_ hardsigmoid"),
    (unary, "hardsigmoid_ softplus exp abs neg sqrt rsqrt square dropout dropout_ feature_dropout"),
    (unary, "clone contiguous detach detach_ alias to _to_copy"),
    (unary, "exp_ expm1 log log1p log2 log10 sin cos tan atan erf erfc floor ceil round trunc frac sign reciprocal"),
    (unary, "log_sigmoid hardshrink softshrink threshold threshold_ nan_to_num isnan isinf logical_not"),
    (unary, "zeros_like ones_like empty_like full_like fill_ zero_ lift_fresh_copy alpha_dropout abs_ neg_ sqrt_"),
    (unary, "type_as positive logit rrelu"),
    (elementwise, "add add_ sub sub_ rsub mul mul_ div div_ pow maximum minimum clamp clamp_ clamp_min clamp_max"),
    (elementwise, "where eq ne lt le gt ge logical_and logical_or masked_fill masked_fill_ lerp addcmul addcdiv"),
    (elementwise, "atan2 fmod remainder pow_ floor_divide true_divide"),
    (gate, "glu"),
    (made, "new_zeros new_ones new_full new_empty"),
    (spatial, "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d"),
    (spatial, "adaptive_avg_pool3d upsample_bicubic2d upsample_linear1d upsample_trilinear3d upsample_nearest1d"),
    (spatial, "upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d"),
    (spatial, "_upsample_bilinear2d_aa _upsample_bicubic2d_aa"),
    (pool_with_indices, "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices"),
    (pool_with_indices, "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"),
    (counted(1, 0), "adaptive_avg_pool2d _adaptive_avg_pool2d"),
    (counted(0, 1), "upsample_nearest2d"),
    (counted(0, 4), "upsample_bilinear2d"),
    (pad, "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d"),
    (pad, "replication_pad2d replication_pad3d"),
    (reduce, "mean sum amax amin var std var_mean std_mean logsumexp prod all any"),
    (extreme, "max min"),
    (place, "argmax argmin"),
    (weight_norm, "_weight_norm"),
    (norm, "linalg_vector_norm"),
    (along("it is divided among channels"), "softmax log_softmax _softmax _log_softmax"),
    (along("it runs along its channels"), "cumsum cumprod roll"),
    (flip, "flip"),
    (index, "index"),
    (index_select, "index_select"),
    (reshape, "view reshape flatten _unsafe_view squeeze unflatten view_as reshape_as"),
    (channel_shuffle, "channel_shuffle native_channel_shuffle"),
    (pixel_shuffle, "pixel_shuffle"),
    (pixel_unshuffle, "pixel_unshuffle"),
    (permute, "permute"),
    (transpose, "transpose swapaxes swapdims"),
    (matrix_transpose, "mT mH adjoint"),
    (reverse, "t numpy_T"),
    (movedim, "movedim moveaxis"),
    (unsqueeze, "unsqueeze"),
    (concatenate, "cat concat concatenate"),
    (slice_axis, "slice narrow"),
    (chunk, "chunk split split_with_sizes tensor_split"),
    (unbind, "unbind"),
    (select, "select"),
    (stack, "stack"),
    (expand, "expand expand_as broadcast_to"),
    (repeat, "repeat tile"),
    (matmul, "matmul bmm mm"),
    (attention, "scaled_dot_product_attention"),
    (einsum, "einsum"),
)
"""Each rule with the ATen operators that it serves, all overloads of them."""


def _by_overload() -> dict[Any, Rule]:
    packets = [(getattr(torch.ops.aten, name), rule) for rule, names in NAMES for name in names.split()]
    return {getattr(packet, overload): rule for packet, rule in packets for overload in packet.overloads()}


RULES: dict[Any, Rule] = _by_overload()
"""The rule of each operator overload that is understood."""
