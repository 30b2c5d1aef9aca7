"""Polish: a compact network's layers re-solved in turn against the original's outputs, without training or labels.

Each layer is fed by the already compacted ones before it, so errors are made up for instead of adding up. One forward
pass of the compact network over all images does it: when a layer's input arrives, its weights are solved for, and the
pass goes on with the new ones (channels x taps, from cross-covariances of what the compact layer sees with what the
original gave; He et al., ICCV 2017 reconstruct layers so, with channels chosen by lasso).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normaliser
from gaprune.prune.calls import Keywords, Positional, input_of
from gaprune.prune.graph import Graph, Layer
from gaprune.prune.least_squares import ridge, solve
from gaprune.prune.masks import Masks
from gaprune.prune.modes import evaluating
from gaprune.prune.patches import draw_positions, outputs_at, patches_at
from gaprune.prune.statistics import FEWEST_POSITIONS, consumers

DAMPING = 1e-3
"""Relative to the mean variance of a layer's patches; it pulls towards the weights that are polished."""

PATCHES = 32_000
"""Output positions of all images together that a layer is fitted on."""

SWEEPS = 2
"""Solves of a layer that a rectifier follows; each takes the negative outputs for granted that the one before left."""


class Polisher:
    """Re-solves compact networks of one original.

    Args:
        model: the original network; its outputs are sampled once, here.
        graph: its pruning graph.
        images: calibration images; labels unused. All pass through a compact network at once.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass of the original.
        advance: told of the images done.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        images: ImageSet,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        batch_size: int = 256,
        advance: Callable[[int], object] = lambda images: None,
    ) -> None:
        self._layers = consumers(model, graph)
        self._norms = {pair.convolution: pair for pair in graph.norms}
        self._images = images
        self._normalised = normaliser(mean, std, images.images.device)
        most = max(-(-PATCHES // max(len(images), 1)), FEWEST_POSITIONS)
        samplers = {w: _Sampler(number, most) for number, w in enumerate(self._layers)}
        with evaluating(model), torch.no_grad(), _hooked(model, self._layers, samplers):
            for first in range(0, len(images), batch_size):
                batch = images.images[first : first + batch_size]
                model(self._normalised(batch))
                advance(len(batch))
        self._targets = {w: (torch.cat(s.positions), torch.cat(s.outputs)) for w, s in samplers.items() if s.outputs}

    def __call__(self, network: nn.Module, masks: Masks) -> None:
        """Re-solve a compact network in place; it is left in eval mode.

        Its batch norm statistics must be the original's, as compaction leaves them. They stay, but for the means
        behind layers without bias, which take up what a bias would. Layers with masked kernels or tied groups stay as
        they are.

        Args:
            network: of this original.
            masks: what it keeps.
        """
        network.eval()
        handles = [
            network.get_submodule(layer.name).register_forward_pre_hook(
                self._solver(network, layer, masks), with_kwargs=True
            )
            for weight, layer in self._layers.items()
            if weight in self._targets and masks.kernel_mask(layer) is None
        ]
        try:
            with torch.no_grad():
                network(self._normalised(self._images.images))
        finally:
            for handle in handles:
                handle.remove()

    def _solver(self, network: nn.Module, layer: Layer, masks: Masks) -> _Solver:
        positions, outputs = self._targets[layer.weight]
        kept = torch.from_numpy(np.flatnonzero(masks.kept(layer.outputs))).to(outputs.device)
        pair = self._norms.get(layer.name)
        norm = None if pair is None else network.get_submodule(pair.norm)
        tracked = getattr(norm, "running_var", None) is not None  # else nobody knows what is cut off
        rectified = pair is not None and pair.rectified and tracked
        return _Solver(positions, outputs.index_select(1, kept), norm, rectified=rectified)


class _Sampler:
    """Keeps a layer's output at drawn positions."""

    def __init__(self, seed: int, most: int) -> None:
        self.positions: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self._most = most
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, module: nn.Module, inputs: Positional, keywords: Keywords, output: Tensor) -> None:
        positions = draw_positions(module, input_of(inputs, keywords), self._most, self._generator)
        self.positions.append(positions)
        self.outputs.append(outputs_at(module, output, positions))


class _Solver:
    """Solves for one layer's weights when its input arrives.

    Args:
        positions: (images, s) output positions to fit.
        wanted: (images x s, out kept) what the original gives there.
        norm: the batch norm that takes the layer's output, if one alone does.
        rectified: whether a rectifier alone follows it; its batch norm then has running statistics.
    """

    def __init__(self, positions: Tensor, wanted: Tensor, norm: nn.Module | None, *, rectified: bool) -> None:
        self._positions = positions
        self._wanted = wanted
        self._norm: Any = norm
        self._sweeps = SWEEPS if rectified else 1

    def __call__(self, module: nn.Module, inputs: Positional, keywords: Keywords) -> None:
        x = patches_at(module, input_of(inputs, keywords), self._positions)
        centred = (
            getattr(module, "bias", None) is not None or self._norm is not None
        )  # else nothing can hold a constant
        mean = x.mean(0) * centred
        x -= mean
        damped = x.T @ x / len(x)
        damped.diagonal().add_(ridge(damped, mean, DAMPING))
        old = module.get_parameter("weight")
        weight, wanted = old.detach().flatten(1), self._wanted
        centre = wanted.mean(0) * centred
        for sweep in range(self._sweeps):
            if sweep:
                wanted = _rectified(self._wanted, x @ weight.T + centre, self._norm)
                centre = wanted.mean(0) * centred
            missing = x.T @ (wanted - centre - x @ weight.T) / len(x)
            weight = weight + solve(damped, missing).T
        old.data.copy_(weight.reshape(old.shape))
        self._place(centre - weight @ mean, module.bias)

    def _place(self, constant: Tensor, bias: Any) -> None:
        """A constant of the output goes into the bias, or where there is none into the mean of the batch norm."""
        if bias is not None:
            bias.data.copy_(constant)
        elif self._norm is not None and self._norm.running_mean is not None:
            self._norm.running_mean -= constant


def _rectified(wanted: Tensor, given: Tensor, norm: Any) -> Tensor:
    """(n, out): what to aim at when only the positive part behind the batch norm counts.

    Where the original is cut off, any output that is cut off too will do: the one given does.
    """
    scale = torch.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = (0.0 if norm.bias is None else norm.bias) - norm.running_mean * scale
    threshold = -shift / scale.where(scale != 0, torch.ones_like(scale))
    cut = wanted * scale + shift <= 0
    nearest = torch.where(scale > 0, torch.minimum(given, threshold), torch.maximum(given, threshold))
    return torch.where(cut & (scale != 0), nearest, wanted)


@contextmanager
def _hooked(model: nn.Module, layers: dict[str, Layer], samplers: dict[str, _Sampler]) -> Iterator[None]:
    """Show input and output of every call of a layer to its sampler."""
    handles = [
        model.get_submodule(layer.name).register_forward_hook(samplers[weight], with_kwargs=True)
        for weight, layer in layers.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
