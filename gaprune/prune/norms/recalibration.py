"""Batch-norm statistics measured anew on the compact network, anchored to what the original's norms give.

With (m, s) mean and standard deviation of a norm's input on the calibration images, in the original (o) and in the
compact network (c), and (mu, sigma) what the norm subtracts and divides by, sigma^2 = running variance + eps:

    sigma_c = sigma_o s_c / s_o        mu_c = m_c - (m_o - mu_o) s_c / s_o

so that the norm's output has the moments that the original's has on these images. Plain recalibration (EagleEye, Li et
al., ECCV 2020, adaptive batch normalisation) asks for mean 0 and variance 1 instead, which is the same where m_o = mu_o
and s_o = sigma_o: where the calibration images are what the network was trained on. Elsewhere it blows channels up that
are nearly silent there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaprune.data import ImageSet, normaliser
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph
from gaprune.prune.graph.inputs import Inputs
from gaprune.prune.graph.modes import evaluating


@dataclass(frozen=True)
class Anchor:
    """What one batch norm of the original is fed with on the calibration images, and what it makes of that.

    Attributes:
        means: (calls, n) float64, of its input: one call a batch, or more where the network calls it several times.
        variances: (calls, n) float64, biased ones.
        samples: (calls,) int64, positions of images behind each.
        running_mean: (n,) float64.
        running_var: (n,) float64.
    """

    means: Tensor
    variances: Tensor
    samples: Tensor
    running_mean: Tensor
    running_var: Tensor

    def kept(self, channels: Tensor) -> Anchor:
        """The anchor over kept channels ((k,) int64 indices)."""
        running = self.running_mean.index_select(0, channels), self.running_var.index_select(0, channels)
        return Anchor(
            self.means.index_select(1, channels), self.variances.index_select(1, channels), self.samples, *running
        )

    def affine(self, call: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
        """Scale and shift of the input at mean 0 and variance 1 that give it the moments of the original's output."""
        sigma = (self.running_var + eps).sqrt()
        scale = (self.variances[call] + eps).sqrt() / sigma
        shift = (self.means[call] - self.running_mean) / sigma
        gain = 1.0 if weight is None else weight.detach().double()
        return gain * scale, gain * shift + (0.0 if bias is None else bias.detach().double())

    def running(self, mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Running mean and variance for an input of this mean and (unbiased) variance, each (n,) float64."""
        samples = self.samples.double()[:, None]
        unbiased = samples / (samples - 1).clamp_min(1.0)
        own = (self.variances * unbiased).mean(0) + eps
        sigma2 = self.running_var + eps
        found = (sigma2 * (variance + eps) / own - eps).clamp_min(0.0)
        return mean - (self.means.mean(0) - self.running_mean) * ((found + eps) / sigma2).sqrt(), found


Anchors = Mapping[str, Anchor]
"""By module path of the batch norm; those that the forward pass never calls have none."""


def take_anchors(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
) -> dict[str, Anchor]:
    """One pass of the original over the images that its compact networks will be recalibrated on.

    Args:
        model: the original network; left in the mode it was in.
        images: calibration images; labels unused.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass, which must be that of ``recalibrate``.
    """
    return anchors_over(model, image_batches(images, mean, std, batch_size))


def anchors_over(model: nn.Module, inputs: Iterable[Inputs]) -> dict[str, Anchor]:
    """The same from any batches, which must be those of ``recalibrate_over``.

    Args:
        model: the original network; left in the mode it was in.
        inputs: the batches.
    """
    watches = {path: _Watch() for path in running_norms(model)}
    handles = [norm.register_forward_pre_hook(watches[path]) for path, norm in running_norms(model).items()]
    try:
        with evaluating(model), torch.no_grad():
            for batch in inputs:
                batch(model)
    finally:
        for handle in handles:
            handle.remove()
    return {path: watches[path].anchor(norm) for path, norm in running_norms(model).items() if watches[path].means}


def kept_anchors(anchors: Anchors, graph: Graph, masks: Masks) -> dict[str, Anchor]:
    """The anchors of a compact network: over the channels that its masks keep.

    Args:
        anchors: of the original.
        graph: its pruning graph.
        masks: what the network keeps.
    """
    found = {}
    for path, anchor in anchors.items():
        (neurons,) = graph.axes.get(f"{path}.running_mean", (None,))
        kept = None if neurons is None else np.flatnonzero(masks.kept(neurons))
        found[path] = anchor if kept is None else anchor.kept(torch.from_numpy(kept).to(anchor.means.device))
    return found


def recalibrate(
    network: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
    anchors: Anchors | None = None,
) -> None:
    """Replace running means and variances by what ``images`` ask for, in one pass of fixed batches.

    The batches are as few as ``batch_size`` allows and, but for one image, equally large: each counts the same, and a
    last batch of a single image would have no variance. Norms are set in turn: later ones see what the earlier ones,
    already anchored, give. Only batch norms are in training mode meanwhile; the network is left in eval mode. Labels
    are not read. Layer norms, group norms and batch norms without running statistics are left alone.

    Args:
        network: the network, in place.
        images: calibration images.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass.
        anchors: over this network's channels, taken on the same images in the same batches (``kept_anchors``); ``None``
            is plain recalibration, the cumulative average.
    """
    recalibrate_over(network, image_batches(images, mean, std, batch_size), anchors)


def recalibrate_over(network: nn.Module, inputs: Iterable[Inputs], anchors: Anchors | None = None) -> None:
    """``recalibrate`` on any batches, of two samples at least; each counts the same.

    Args:
        network: the network, in place.
        inputs: the batches.
        anchors: over this network's channels, taken on the same batches; ``None`` is plain recalibration.
    """
    norms = running_norms(network)
    if anchors is not None:
        norms = {path: norm for path, norm in norms.items() if path in anchors}
    if not norms:
        return
    network.eval()
    with _measuring(norms, anchors) as counted, torch.no_grad():
        for number, batch in enumerate(inputs, start=1):
            counted(number)
            batch(network)
    if anchors is not None:
        for path, norm in norms.items():
            _place(norm, anchors[path])
    network.eval()


@dataclass(frozen=True)
class Recalibrator:
    """Recalibrates compact networks of one original.

    Attributes:
        images: calibration images; labels unused.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass.
        graph: the original's pruning graph; needed for anchors alone.
        anchors: of the original on these images in these batches; ``None`` is plain recalibration.
    """

    images: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int = 256
    graph: Graph | None = None
    anchors: Anchors | None = None

    def __call__(self, network: nn.Module, masks: Masks) -> None:
        """Recalibrate a compact network in place; ``masks`` is what it keeps."""
        kept = None
        if self.anchors is not None:
            assert self.graph is not None
            kept = kept_anchors(self.anchors, self.graph, masks)
        recalibrate(network, self.images, self.mean, self.std, batch_size=self.batch_size, anchors=kept)


@dataclass(frozen=True)
class InputRecalibrator:
    """The same on any batches.

    Attributes:
        inputs: the batches.
        graph: the original's pruning graph.
        anchors: of the original on these batches; ``None`` is plain recalibration.
    """

    inputs: Sequence[Inputs]
    graph: Graph
    anchors: Anchors | None = None

    def __call__(self, network: nn.Module, masks: Masks) -> None:
        """Recalibrate a compact network in place; ``masks`` is what it keeps."""
        kept = None if self.anchors is None else kept_anchors(self.anchors, self.graph, masks)
        recalibrate_over(network, self.inputs, kept)


@dataclass
class _Watch:
    """Takes the moments of a norm's input at every call."""

    means: list[Tensor] = field(default_factory=list)
    variances: list[Tensor] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0] if inputs[0].dtype == torch.float64 else inputs[0].float()
        dims = [0, *range(2, x.ndim)]
        variance, mean = torch.var_mean(x, dims, correction=0)
        self.means.append(mean.double())
        self.variances.append(variance.double())
        self.samples.append(x.numel() // x.shape[1])

    def anchor(self, norm: Any) -> Anchor:
        means, variances = torch.stack(self.means), torch.stack(self.variances)
        samples = torch.tensor(self.samples, device=means.device)
        return Anchor(means, variances, samples, norm.running_mean.double().clone(), norm.running_var.double().clone())


@dataclass
class _Anchoring:
    """At every call of a norm in training mode: a cumulative average, and the affine that anchors what it gives."""

    anchor: Anchor
    weight: Tensor | None
    bias: Tensor | None
    calls: int = 0

    def __call__(self, norm: Any, inputs: tuple[Tensor, ...]) -> None:
        weight, bias = self.anchor.affine(self.calls, self.weight, self.bias, norm.eps)
        self.calls += 1
        norm.momentum = 1 / self.calls
        norm._parameters["weight"] = weight.to(norm.running_mean.dtype)
        norm._parameters["bias"] = bias.to(norm.running_mean.dtype)


@contextmanager
def _measuring(norms: Mapping[str, Any], anchors: Anchors | None) -> Iterator[Any]:
    """Let norms measure their input; gives what to call with the number of the batch that comes, from 1."""
    before = {path: (norm.momentum, norm.weight, norm.bias) for path, norm in norms.items()}
    handles = []
    for path, norm in norms.items():
        norm.reset_running_stats()
        norm.train()
        if anchors is not None:
            hook = _Anchoring(anchors[path], *before[path][1:])
            handles.append(norm.register_forward_pre_hook(hook))

    def counted(number: int) -> None:
        for norm in norms.values():
            norm.momentum = 1 / number  # a cumulative average; torch's own would stop the host to read its count

    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()
        for path, norm in norms.items():
            norm.momentum, norm._parameters["weight"], norm._parameters["bias"] = before[path]


def _place(norm: Any, anchor: Anchor) -> None:
    """Turn a norm's averages of its input into what anchors its output."""
    mean, variance = anchor.running(norm.running_mean.double(), norm.running_var.double(), norm.eps)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def running_norms(model: nn.Module) -> dict[str, Any]:
    """Batch norms with running statistics, by module path."""
    found = model.named_modules()
    return {
        path: module
        for path, module in found
        if isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None
    }


def image_batches(
    images: ImageSet, mean: tuple[float, ...], std: tuple[float, ...], batch_size: int
) -> Iterator[Inputs]:
    """The batches of ``batches``, normalised, as a network is called with them."""
    normalised = normaliser(mean, std, images.images.device)
    for batch in batches(images, batch_size):
        yield Inputs((normalised(batch),))


def batches(images: ImageSet, batch_size: int) -> Iterable[Tensor]:
    """As few as the size allows and, but for one image, equally large: (b, C, H, W) uint8 each."""
    return images.images.tensor_split(-(-len(images) // batch_size))
