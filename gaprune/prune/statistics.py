"""Means and covariances at every consumer's input, from one pass of the original network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normaliser
from gaprune.prune.graph import Graph, Layer
from gaprune.prune.modes import evaluating

MOST_INPUTS = 4608
"""Widest input whose covariance is collected; wider ones (flattened maps) are left without compensation."""

SAMPLES_PER_CHANNEL = 10
"""Samples (images x positions) a channel that a covariance wants."""


@dataclass(frozen=True)
class Moments:
    """Sums over samples (positions of images) of one consumer's input.

    Attributes:
        count: number of samples.
        total: (in,) float64, sum of inputs.
        products: (in, in) float64, sum of outer products.
        height: of the input map; 1 for a linear layer.
        width: of the input map; 1 for a linear layer.
    """

    count: int
    total: Tensor
    products: Tensor
    height: int
    width: int

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of samples together."""
        return replace(
            self,
            count=self.count + other.count,
            total=self.total + other.total,
            products=self.products + other.products,
        )

    @property
    def mean(self) -> Tensor:
        """(in,) float64."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """(in, in) float64."""
        return self.products / self.count - torch.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Statistics:
    """Moments of each consumer's input, by weight name.

    Attributes:
        fitted: over most of the images.
        held_out: over the rest, for choosing what fitting cannot choose (damping).
        images: number of images in both.
    """

    fitted: dict[str, Moments]
    held_out: dict[str, Moments]
    images: int


def consumers(model: nn.Module, graph: Graph) -> dict[str, Layer]:
    """Dense layers whose input moments can be collected, by weight name.

    Left out: weights that are used twice (one stand-in must serve both), flattened maps that are too wide, and whatever
    is not the ``weight`` of an ``nn.Conv2d`` or ``nn.Linear``.
    """
    uses = Counter(layer.weight for layer in graph.layers)
    modules = dict(model.named_modules())
    return {
        layer.weight: layer
        for layer in graph.layers
        if layer.kind == "dense"
        and uses[layer.weight] == 1
        and (layer.inputs >= 0).any()
        and len(layer.inputs) <= MOST_INPUTS
        and isinstance(modules.get(layer.name), nn.Conv2d | nn.Linear)
        and layer.weight == f"{layer.name}.weight"
    }


def images_wanted(layers: dict[str, Layer]) -> int:
    """Images that give every covariance enough samples; a map's positions are the consumer's output positions."""
    return max(
        (-(-SAMPLES_PER_CHANNEL * len(layer.inputs) // max(layer.positions, 1)) for layer in layers.values()),
        default=1,
    )


def collect(
    model: nn.Module,
    graph: Graph,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
    advance: Callable[[int], object] = lambda images: None,
) -> Statistics:
    """One pass over ``images``; the last fifth is held out.

    Args:
        model: the original network; left in the mode it was in.
        graph: its pruning graph.
        images: calibration images; labels unused.
        mean: normalisation.
        std: normalisation.
        batch_size: images a forward pass.
        advance: told of the images done.
    """
    layers = consumers(model, graph)
    normalised = normaliser(mean, std, images.images.device)
    held_from = max(len(images) - len(images) // 5, 1)
    parts: tuple[dict[str, Moments], dict[str, Moments]] = ({}, {})
    with evaluating(model), torch.no_grad():
        for part, (start, stop) in zip(parts, ((0, held_from), (held_from, len(images))), strict=True):
            with _watching(model, layers, part):
                for first in range(start, stop, batch_size):
                    last = min(first + batch_size, stop)
                    model(normalised(images.images[first:last]))
                    advance(last - first)
    return Statistics(*parts, images=len(images))


@contextmanager
def _watching(model: nn.Module, layers: dict[str, Layer], into: dict[str, Moments]) -> Iterator[None]:
    """Meanwhile every call of a layer adds its input to the moments."""
    hooks = [
        model.get_submodule(layer.name).register_forward_pre_hook(_adder(weight, into))
        for weight, layer in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _adder(weight: str, into: dict[str, Moments]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found = _moments(inputs[0], maps=isinstance(module, nn.Conv2d))
        into[weight] = into[weight] + found if weight in into else found

    return add


def _moments(x: Tensor, *, maps: bool) -> Moments:
    """Of (N, C, H, W) maps or (..., F) features."""
    height, width = (x.shape[2], x.shape[3]) if maps else (1, 1)
    samples = x.transpose(0, 1).flatten(1) if maps else x.reshape(-1, x.shape[-1]).T
    samples = samples.double()
    return Moments(samples.shape[1], samples.sum(1), samples @ samples.T, height, width)
