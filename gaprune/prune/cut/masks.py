"""What a genome means for a network: neurons kept, kernels kept, convolutions turned into grouped ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaprune.genome import Bits
from gaprune.prune.graph.graph import Graph, Layer, Neurons


@dataclass(frozen=True)
class Grouping:
    """A convolution split into equal groups of channels.

    Attributes:
        groups: number of groups.
        inputs: (in kept,) order of the kept input channels, group after group.
        outputs: (out kept,) order of the kept output channels, group after group.
    """

    groups: int
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]

    def mask(self) -> Bits:
        """(out kept, in kept) boolean: which kernels lie inside a group."""
        out_group = np.empty(len(self.outputs), dtype=np.int64)
        in_group = np.empty(len(self.inputs), dtype=np.int64)
        out_group[self.outputs] = np.arange(len(self.outputs)) * self.groups // len(self.outputs)
        in_group[self.inputs] = np.arange(len(self.inputs)) * self.groups // len(self.inputs)
        return np.equal(out_group[:, None], in_group[None, :])


@dataclass(frozen=True)
class Masks:
    """One candidate network.

    Attributes:
        neurons: (n,) boolean, the neurons kept.
        kernels: by weight name, (out, in) boolean over the original's channels: connections kept among kept
            neurons (elsewhere false). Weights without an entry keep every connection of their kept neurons.
        groupings: by weight name, the convolutions that become grouped ones; over kept channels.
    """

    neurons: Bits
    kernels: dict[str, Bits] = field(default_factory=dict)
    groupings: dict[str, Grouping] = field(default_factory=dict)

    def kept(self, neurons: Neurons) -> Bits:
        """(n,) boolean along an axis: which of its indices stay; of several neurons each, those of which all stay."""
        return along(np.append(self.neurons, True), neurons)

    def kernel_mask(self, layer: Layer) -> Bits | None:
        """(out kept, in kept) boolean of a layer's kept kernels, or ``None`` when all of them stay."""
        if layer.weight in self.groupings:
            return self.groupings[layer.weight].mask()
        if layer.weight not in self.kernels:
            return None
        rows, columns = self.kept(layer.outputs), self.kept(layer.inputs)
        return self.kernels[layer.weight][np.ix_(rows, columns)]

    @classmethod
    def full(cls, graph: Graph) -> Masks:
        """The original network."""
        return cls(np.ones(graph.neurons, dtype=np.bool_))


def along(kept: Bits, neurons: Neurons) -> Bits:
    """(n,) boolean along an axis: which of its indices stay; of several neurons each, those of which all stay.

    Args:
        kept: (neurons + 1,) boolean; the last entry is true and serves index -1.
        neurons: (n,) or (n, k).
    """
    found: Bits = kept[neurons]
    return np.logical_and.reduce(found, axis=1) if found.ndim > 1 else found
