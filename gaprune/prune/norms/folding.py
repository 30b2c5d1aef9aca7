"""Batch norms folded into the convolutions before them: the same function in fewer passes over the maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from gaprune.prune.graph.graph import Norm

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def fold(network: nn.Module, norms: Sequence[Norm]) -> None:
    """Fold batch norms into the weights and biases of their convolutions, in place.

    W' = W g / sqrt(v + e) by output channel and b' = (b - m) g / sqrt(v + e) + h, with the norm's running mean m and
    variance v and its affine g and h: what the pair computes in eval mode, to rounding.

    Args:
        network: in eval mode; other tensors are left alone. An identity takes each folded norm's place.
        norms: of the graph of this network or of the original that it was cut from. A pair is passed over
            where a module is no longer a plain convolution (a grouped one, say), the norm has no running
            statistics, or either has hooks.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    folded: dict[nn.Module, nn.Module] = {}
    for pair in norms:
        convolution, norm = modules.get(pair.convolution), modules.get(pair.norm)
        if convolution is not None and norm is not None and _foldable(convolution, norm):
            _fold_pair(convolution, norm)
            folded[norm] = nn.Identity().eval()
    for parent in modules.values():
        for name, child in parent._modules.items():
            if child in folded:
                parent._modules[name] = folded[child]


def _foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are torch's own, not subclasses that may do more, and the norm does the same at every call."""
    plain = type(convolution) in CONVOLUTIONS and type(norm) in NORMS
    statistics = getattr(norm, "running_mean", None) is not None and not norm.training
    return plain and statistics and not any(_hooked(module) for module in (convolution, norm))


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _fold_pair(convolution: Any, norm: Any) -> None:
    with torch.no_grad():
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
