"""Removed channels replaced by the best linear stand-in of the kept ones, folded into the consumer.

For a consumer's input with mean m and covariance C, the removed channels R are predicted from the kept K by
x_R ~ A x_K + a with A = C_RK (C_KK + e I)^-1 and a = m_R - A m_K. Folded in: W_K += W_R A for every tap of the kernel,
bias += W_R a, each tap weighted by the share of positions where it does not fall on zero padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.prune.graph import Graph, Layer
from gaprune.prune.masks import Masks
from gaprune.prune.statistics import Moments, Statistics, consumers
from gaprune.prune.tensors import state_tensors

DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates for the damping e, relative to the mean variance of the input's channels."""

ROUNDING = 1e-14
"""Share of the mean square that rounding alone may leave in a covariance."""


class Compensator:
    """Weights and biases that make up for removed channels, in closed form; no data pass.

    Args:
        model: the original network.
        graph: its pruning graph.
        statistics: moments of the consumers' inputs.
        damping: for all consumers, relative to the mean variance; ``None`` chooses one for each on held-out images.

    Attributes:
        damping: by weight name, the damping in use.
    """

    def __init__(self, model: nn.Module, graph: Graph, statistics: Statistics, damping: float | None = None) -> None:
        self._tensors = state_tensors(model)
        self._layers = {
            weight: layer for weight, layer in consumers(model, graph).items() if weight in statistics.fitted
        }
        self._moments = {weight: _all(statistics, weight) for weight in self._layers}
        self._covariance = {weight: moments.covariance for weight, moments in self._moments.items()}
        self.damping = {
            weight: choose_damping(statistics.fitted[weight], statistics.held_out.get(weight))
            if damping is None
            else damping
            for weight in self._layers
        }
        self._taps = {
            weight: tap_shares(model.get_submodule(layer.name), self._moments[weight])
            for weight, layer in self._layers.items()
        }

    def __call__(self, masks: Masks) -> dict[str, Tensor]:
        """The tensors of a candidate's consumers, over kept channels, by name; what is not named stays as cut."""
        found: dict[str, Tensor] = {}
        for weight, layer in self._layers.items():
            kept = masks.kept(layer.inputs)
            if not kept.all():
                found.update(self._compensated(weight, layer, kept, masks.kept(layer.outputs)))
        return found

    def _compensated(self, weight: str, layer: Layer, kept: Any, outputs: Any) -> dict[str, Tensor]:
        whole = self._tensors[weight]
        device = whole.device
        k, r, o = (torch.from_numpy(np.flatnonzero(mask)).to(device) for mask in (kept, ~kept, outputs))
        rows = whole.index_select(0, o).flatten(2) if whole.ndim > 2 else whole.index_select(0, o).unsqueeze(2)
        gone = rows.index_select(1, r).double()
        A, a = stand_in(self._covariance[weight], self._moments[weight].mean, k, r, self.damping[weight])
        new = rows.index_select(1, k) + torch.einsum("ort,rk->okt", gone, A).to(whole.dtype)
        found = {weight: new.reshape(len(o), len(k), *whole.shape[2:])}
        bias = f"{layer.name}.bias"
        if bias in self._tensors:
            shift = torch.einsum("ort,r,t->o", gone, a, self._taps[weight])
            found[bias] = self._tensors[bias].index_select(0, o) + shift.to(whole.dtype)
        return found


def stand_in(covariance: Tensor, mean: Tensor, kept: Tensor, removed: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """The best affine prediction of removed channels from kept ones.

    Args:
        covariance: (n, n) float64.
        mean: (n,) float64.
        kept: (k,) int64 indices.
        removed: (r,) int64 indices.
        damping: relative to the mean variance.

    Returns:
        A of shape (r, k) and a of shape (r,), float64.
    """
    across = covariance[removed][:, kept]
    among = covariance[kept][:, kept]
    noise = ROUNDING * (covariance.diagonal() + mean.square()).mean()  # constant inputs have no variance of their own
    ridge = damping * covariance.diagonal().mean() + noise.clamp_min(1e-30)
    factor = torch.linalg.cholesky(among + ridge * torch.eye(len(kept), dtype=among.dtype, device=among.device))
    A = torch.cholesky_solve(across.T, factor).T
    return A, mean[removed] - A @ mean[kept]


def choose_damping(fitted: Moments, held_out: Moments | None) -> float:
    """The damping that predicts every second channel (by falling variance) best on images that were not fitted.

    The held-out error needs no images: it is a quadratic form of the held-out moments.
    """
    if held_out is None or held_out.count < 2 or len(fitted.total) < 2:
        return DAMPINGS[len(DAMPINGS) // 2]
    order = torch.argsort(fitted.covariance.diagonal(), descending=True, stable=True)
    kept, removed = order[::2], order[1::2]
    covariance, mean = fitted.covariance, fitted.mean
    errors = []
    for damping in DAMPINGS:
        A, a = stand_in(covariance, mean, kept, removed, damping)
        errors.append(float(_squared_error(held_out, kept, removed, A, a)))
    return DAMPINGS[int(np.argmin(errors))]


def _squared_error(moments: Moments, kept: Tensor, removed: Tensor, A: Tensor, a: Tensor) -> Tensor:
    """Mean of |x_R - A x_K - a|^2 over the samples behind ``moments``."""
    C = moments.covariance
    offset = moments.mean[removed] - A @ moments.mean[kept] - a
    spread = C[removed][:, removed] - 2 * A @ C[kept][:, removed] + A @ C[kept][:, kept] @ A.T
    return spread.diagonal().sum() + offset.square().sum()


def tap_shares(module: nn.Module, moments: Moments) -> Tensor:
    """(taps,) float64: for each tap of a kernel the share of output positions where it falls on data, not padding."""
    device = moments.total.device
    kernel = getattr(module, "kernel_size", None)
    if kernel is None:
        return torch.ones(1, dtype=torch.float64, device=device)
    settings: Any = module
    if settings.padding_mode != "zeros":
        return torch.ones(int(np.prod(kernel)), dtype=torch.float64, device=device)
    sizes = (moments.height, moments.width)
    both_sides = settings._reversed_padding_repeated_twice  # (left, right, top, bottom); resolves "same" and "valid"
    sides = (both_sides[2:], both_sides[:2])
    shares = [
        _axis_share(size, k, ends, s, d)
        for size, k, ends, s, d in zip(sizes, kernel, sides, settings.stride, settings.dilation, strict=True)
    ]
    return torch.from_numpy(np.outer(*shares).reshape(-1)).to(device)


def _axis_share(size: int, kernel: int, padding: Sequence[int], stride: int, dilation: int) -> Any:
    before, after = padding
    positions = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    places = np.arange(positions)[None, :] * stride - before + np.arange(kernel)[:, None] * dilation
    return ((places >= 0) & (places < size)).mean(axis=1)


def _all(statistics: Statistics, weight: str) -> Moments:
    fitted = statistics.fitted[weight]
    return fitted + statistics.held_out[weight] if weight in statistics.held_out else fitted
