"""Batch norms restated by the statistics of given images, so that training begins from the function that is there.

In training mode a batch norm divides by the deviation of its batch, in eval mode by its running one. Where running
statistics are not those of the images that a network is trained on (anchored recalibration leaves them so on purpose,
and so does any network on images other than it was made from), the first step of a training would change what the
network computes. Restated, both modes agree: with (mu, sigma) the running mean and deviation of a norm and (m, s) those
of its input on the images,

    gamma' = gamma s / sigma        beta' = beta + gamma (m - mu) / sigma        running mean and deviation: (m, s)

In eval mode the norm gives what it gave before. A channel that is silent on the images stays silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.data import ImageSet, normaliser
from gaprune.prune.graph.modes import evaluating
from gaprune.prune.norms.recalibration import batches, running_norms


def restate_norms(
    network: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
) -> None:
    """Restate every batch norm by the moments of its input on ``images``; what the network gives in eval mode stays.

    Norms without running statistics or without scale and shift are left alone: they have no second form. So are those
    whose scale or shift is frozen or another norm's as well, and those that the network never calls.

    Args:
        network: the network, in place; left in the mode it was in.
        images: training images; labels unused.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass.
    """
    uses = Counter(id(one) for module in network.modules() for one in module._parameters.values())
    norms = {path: norm for path, norm in running_norms(network).items() if norm.affine and _may_change(norm, uses)}
    watches = {path: _Moments() for path in norms}
    handles = [norm.register_forward_pre_hook(watches[path]) for path, norm in norms.items()]
    normalised = normaliser(mean, std, images.images.device)
    try:
        with evaluating(network), torch.no_grad():
            for batch in batches(images, batch_size):
                network(normalised(batch))
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        for path, norm in norms.items():
            if watches[path].count > 1:
                _restate(norm, *watches[path].found())


def _may_change(norm: Any, uses: Mapping[int, int]) -> bool:
    """Whether scale and shift may learn and are its own; ``uses`` says how many modules have each parameter, by id."""
    return all(one.requires_grad and uses[id(one)] == 1 for one in (norm.weight, norm.bias))


class _Moments:
    """Mean and variance of a norm's input over all positions of all its calls."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def __call__(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0] if inputs[0].dtype == torch.float64 else inputs[0].float()
        variance, mean = (one.double() for one in torch.var_mean(x, [0, *range(2, x.ndim)], correction=0))
        count = x.numel() // x.shape[1]
        total = self.count + count
        apart = mean - self._mean
        self._squares = self._squares + variance * count + apart**2 * (self.count * count / total)
        self._mean = self._mean + apart * (count / total)
        self.count = total

    def found(self) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance, (n,) float64 each."""
        assert isinstance(self._mean, Tensor)
        assert isinstance(self._squares, Tensor)
        return self._mean, self._squares / (self.count - 1)


def _restate(norm: Any, mean: Tensor, variance: Tensor) -> None:
    kind = norm.running_mean.dtype
    mean, variance = mean.to(kind).double(), variance.to(kind).double()  # as they will be read
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.add_(gain * (mean - norm.running_mean.double()))
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
