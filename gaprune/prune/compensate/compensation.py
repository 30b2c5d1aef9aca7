"""Removed channels replaced by the best linear stand-in of the kept ones, folded into the consumer.

Two forms. Over channels: for a consumer's input with mean m and covariance C, the removed channels R are predicted
from the kept K by x_R ~ A x_K + a with A = C_RK (C_KK + e I)^-1, a = m_R - A m_K; folded in, W_K += W_R A for every tap
of the kernel and bias += W_R a, each tap weighted by the share of positions where it does not fall on zero padding.
That minimises the error of the input. Over channels x taps: the kernel's weights for the kept channels are solved for
anew from the covariance of whole patches, padding and stride as they are; that minimises the error of the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.genome import Bits
from gaprune.prune.compensate.connections import resolve_kernels
from gaprune.prune.compensate.least_squares import damped_inverse, kept_weights, kept_weights_by_inverse, ridge, solve
from gaprune.prune.compensate.padding import padding_sides
from gaprune.prune.compensate.statistics import Moments, Statistics, consumers
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph
from gaprune.prune.graph.tensors import state_tensors

LEAST_INVERTED = 1e-4
"""Least damping with which an inverse is accurate enough to solve by."""

Form = Literal["taps", "channels"]

FORMS: tuple[Form, ...] = ("taps", "channels")

DAMPINGS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Candidates for the damping e, relative to the mean variance of the input's channels."""


class Compensator:
    """Weights and biases that make up for removed channels and kernels, in closed form; no data pass.

    Args:
        model: the original network.
        graph: its pruning graph.
        statistics: of the consumers' inputs.
        form: ``taps`` solves over channels x taps wherever the statistics hold patches; ``channels`` nowhere.
        damping: for all consumers, relative to the mean variance; ``None`` takes what suits held-out images.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        statistics: Statistics,
        *,
        form: Form = "taps",
        damping: float | None = None,
    ) -> None:
        self._tensors = state_tensors(model)
        found = consumers(model, graph)
        normed = {pair.convolution for pair in graph.norms}
        self._layers = {weight: layer for weight, layer in found.items() if weight in statistics.fitted}
        self._consumers = {
            weight: _Consumer(model.get_submodule(layer.name), statistics, weight, damping, layer.name in normed)
            for weight, layer in self._layers.items()
        }
        self._forms: dict[str, _Form] = {
            weight: _Patchwise(consumer, statistics, weight, damping)
            if form == "taps" and weight in statistics.patches
            else _Channelwise(consumer)
            for weight, consumer in self._consumers.items()
        }

    def __call__(self, masks: Masks) -> dict[str, Tensor]:
        """The tensors of a candidate's consumers, over kept channels, by name; what is not named stays as cut."""
        found: dict[str, Tensor] = {}
        for weight, layer in self._layers.items():
            consumer = self._consumers[weight]
            inputs, outputs = masks.kept(layer.inputs), masks.kept(layer.outputs)
            kernels = masks.kernel_mask(layer)
            if kernels is not None:
                made = consumer.with_kernels(inputs, outputs, kernels)
            elif not inputs.all():
                made = self._forms[weight](inputs, outputs)
            else:
                continue
            found[weight], shift = consumer.shaped(made[0]), made[1]
            bias = f"{layer.name}.bias"
            if bias in self._tensors:
                kept = _indices(outputs, shift.device)
                found[bias] = self._tensors[bias].index_select(0, kept) + shift.to(self._tensors[bias].dtype)
        return found


Made = tuple[Tensor, Tensor]
"""Weights over kept channels (out kept, in kept, taps), and what the bias gains (out kept,)."""


class _Form(Protocol):
    def __call__(self, inputs: Bits, outputs: Bits) -> Made:
        """From (in,) and (out,) booleans of what is kept."""
        ...


class _Consumer:
    """One consumer as it was: its weights, and what is known of its input over channels.

    A constant that the removed channels leave goes into the bias, or is taken up by a batch norm right behind. Where
    there is neither, nothing can hold it: the moments are then about zero, and what is solved for makes up for it.

    Attributes:
        holds_constants: whether there is a bias or such a batch norm.
    """

    def __init__(
        self, module: nn.Module, statistics: Statistics, weight: str, damping: float | None, normed: bool
    ) -> None:
        whole = module.get_parameter("weight").detach()
        self.shape = whole.shape
        self.weight = whole.flatten(2) if whole.ndim > 2 else whole.unsqueeze(2)
        moments = _all(statistics, weight)
        biased = getattr(module, "bias", None) is not None
        self.holds_constants = biased or normed
        self.mean, self.covariance = self.about(moments.mean, moments.covariance)
        fitted, held_out = statistics.fitted[weight], statistics.held_out.get(weight)
        self.damping = choose_damping(fitted, held_out) if damping is None else damping
        self.tap_shares = tap_shares(module, moments)
        self._constant_counts = biased or not normed
        self._samples = statistics.samples.get(weight)
        self._wanted = None if self._samples is None else self._samples @ whole.flatten(1).T

    def about(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance to solve with: about the mean, or about zero where no constant is held."""
        if self.holds_constants:
            return mean, covariance
        return torch.zeros_like(mean), covariance + torch.outer(mean, mean)

    def shaped(self, rows: Tensor) -> Tensor:
        """(out, in, taps) as the module holds it."""
        return rows.reshape(*rows.shape[:2], *self.shape[2:]).to(self.weight.dtype)

    def with_kernels(self, inputs: Bits, outputs: Bits, kernels: Bits) -> Made:
        """For each output the kept kernels, re-solved over channels; ``kernels`` is (out kept, in kept)."""
        device = self.weight.device
        k, o = _indices(inputs, device), _indices(outputs, device)
        rows = self.weight.index_select(0, o)
        kept = torch.zeros(rows.shape[:2], dtype=torch.bool, device=device)
        kept[:, k] = torch.from_numpy(kernels).to(device)
        new = resolve_kernels(rows, kept, self.covariance, self.damping, self.mean)
        shift = torch.einsum("oit,i,t->o", (rows - new).double(), self.mean, self.tap_shares)
        plain = (rows * kept[:, :, None]).index_select(1, k)
        return self.better(plain, (new.index_select(1, k), shift), k, o)

    def better(self, plain: Tensor, made: Made, k: Tensor, o: Tensor) -> Made:
        """For each output channel what errs less on the samples: the weights made, or the ``plain`` ones as cut.

        Where no bias takes up a constant error, a batch norm is left to do it, and only what varies counts.
        """
        if self._samples is None or self._wanted is None:
            return made
        new, shift = made
        wanted = self._wanted.index_select(1, o)
        seen = self._samples.view(len(wanted), -1, new.shape[2]).index_select(1, k).flatten(1)
        missed = (wanted - seen @ plain.flatten(1).T, wanted - seen @ new.flatten(1).to(seen.dtype).T - shift)
        if not self._constant_counts:
            missed = (missed[0] - missed[0].mean(0), missed[1] - missed[1].mean(0))
        worse = missed[1].square().sum(0) > missed[0].square().sum(0)
        return torch.where(worse[:, None, None], plain.to(new.dtype), new), shift.masked_fill(worse, 0.0)


class _Patchwise:
    """Over channels x taps; never worse than leaving the channels out, on the patches that were fitted."""

    def __init__(self, consumer: _Consumer, statistics: Statistics, weight: str, damping: float | None) -> None:
        patches = statistics.patches[weight]
        self._weight = consumer.weight.flatten(1)
        self._taps = consumer.weight.shape[2]
        self._mean, self._covariance = consumer.about(patches.mean, patches.covariance)
        self._target = self._weight @ self._covariance
        self._output = self._weight @ self._mean
        self._damping = patches.damping if damping is None else damping

    def __call__(self, inputs: Bits, outputs: Bits) -> Made:
        device = self._weight.device
        wide = np.repeat(inputs, self._taps)
        k, r, o = (_indices(mask, device) for mask in (wide, ~wide, outputs))
        weight = self._weight.index_select(0, o)
        if len(r) < len(k) and self._damping >= LEAST_INVERTED:
            new = kept_weights_by_inverse(weight, self._inverse, k, r)
        else:
            target = self._target.index_select(0, o)
            new = kept_weights(weight, target, self._covariance, self._mean, k, self._damping)
        shift = self._output.index_select(0, o) - new @ self._mean.index_select(0, k)
        return new.reshape(len(o), -1, self._taps), shift

    @cached_property
    def _inverse(self) -> Tensor:
        """Made when a candidate first keeps most of the layer's inputs."""
        return damped_inverse(self._covariance, self._mean, self._damping)


class _Channelwise:
    """Over channels, each tap alike; an output channel that this would make worse keeps its weights as cut."""

    def __init__(self, consumer: _Consumer) -> None:
        self._consumer = consumer

    def __call__(self, inputs: Bits, outputs: Bits) -> Made:
        consumer = self._consumer
        device = consumer.weight.device
        k, r, o = (_indices(mask, device) for mask in (inputs, ~inputs, outputs))
        rows = consumer.weight.index_select(0, o)
        plain, gone = rows.index_select(1, k), rows.index_select(1, r).double()
        A, a = stand_in(consumer.covariance, consumer.mean, k, r, consumer.damping)
        new = plain + torch.einsum("ort,rk->okt", gone, A)
        shift = torch.einsum("ort,r,t->o", gone, a, consumer.tap_shares)
        return consumer.better(plain, (new, shift), k, o)


def _indices(mask: Bits, device: torch.device) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask)).to(device)


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
    among.diagonal().add_(ridge(covariance, mean, damping))
    A = solve(among, across.T).T
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
    left, right, top, bottom = padding_sides(settings) or (0, 0, 0, 0)
    sides = ((top, bottom), (left, right))
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
