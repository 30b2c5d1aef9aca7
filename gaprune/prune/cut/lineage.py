"""What a network that was pruned more than once keeps of the first one: masks composed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaprune.genome import Bits
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, Layer


def present_kernels(graph: Graph, masks: Masks) -> dict[str, Bits]:
    """By weight name, the kernels that a compact network has where some are masked: (out kept, in kept) boolean."""
    layers = {layer.weight: layer for layer in graph.convolutions()}
    found = {}
    for weight in masks.kernels:
        mask = masks.kernel_mask(layers[weight])
        assert mask is not None
        found[weight] = mask
    return found


def compose(first: Graph, so_far: Masks, graph: Graph, masks: Masks) -> Masks:
    """What a second pruning leaves of the first network.

    Args:
        first: the first network's graph.
        so_far: what the compact network that was pruned again had kept of it; no tied groups.
        graph: the compact network's graph.
        masks: what is kept of that; where it masks kernels, those masked before are masked, too.

    Raises:
        ValueError: the networks do not have the same convolutions, or the widths do not fit.
    """
    neurons = so_far.neurons.copy()
    made = {layer.weight for layer in (*first.layers, *graph.layers) if layer.convolution or layer.produces}
    producers = ([layer for layer in one.layers if layer.weight in made] for one in (first, graph))
    for old, new in zip(*producers, strict=True):
        rows = _channels(old, old.outputs, so_far.kept(old.outputs), new.outputs)
        stays = masks.kept(new.outputs)
        outputs = old.outputs.reshape(len(old.outputs), -1)
        gone = outputs[rows[~stays]]
        if (gone < 0).all(axis=1).any():
            raise ValueError(f"{old.name} has lost channels that must stay")
        lost = np.setdiff1d(gone, outputs[rows[stays]])
        neurons[lost[lost >= 0]] = False
    composed = Masks(neurons)
    newer = {layer.weight: layer for layer in graph.convolutions()}
    for layer in first.convolutions():
        if layer.weight in masks.kernels or layer.weight in so_far.kernels:
            kernels = _kernels(layer, so_far, newer[layer.weight], masks)
            kernels &= composed.kept(layer.outputs)[:, None] & composed.kept(layer.inputs)[None, :]
            composed.kernels[layer.weight] = kernels
    return composed


def _kernels(old: Layer, so_far: Masks, new: Layer, masks: Masks) -> Bits:
    """(out, in) boolean over the first network's channels."""
    if old.weight not in masks.kernels:
        return so_far.kernels[old.weight].copy()
    rows = _channels(old, old.outputs, so_far.kept(old.outputs), new.outputs)
    columns = _channels(old, old.inputs, so_far.kept(old.inputs), new.inputs)
    whole = np.zeros((len(old.outputs), len(old.inputs)), dtype=np.bool_)
    whole[np.ix_(rows, columns)] = masks.kernels[old.weight]
    return whole


def _channels(layer: Layer, neurons: NDArray[np.int64], kept: Bits, now: NDArray[np.int64]) -> NDArray[np.intp]:
    """The first network's channels along an axis that the compact network has."""
    found = np.flatnonzero(kept)
    if len(found) != len(now):
        raise ValueError(f"{layer.name} has {len(now)} channels, expected {len(found)} of {len(neurons)}")
    return found
