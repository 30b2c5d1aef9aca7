"""The tables of Kuzmin, Menisov and Sabirov (2024), doi 10.17586/2226-1494-2024-24-5-770-778, as printed.

And what they imply: the networks of Table 5, built, and their convolutions counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import nn

from gaprune.models import build
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph

MEBIBYTE = 2**20
"""Bytes of the paper's MB: 14,714,688 parameters of 4 bytes are its 56.13."""


@dataclass(frozen=True)
class Round:
    """A line of Table 2, with its columns of Tables 3 and 5.

    Attributes:
        params: parameters, in millions.
        megabytes: memory.
        top1: accuracy, 0 to 1.
        removed: parameters removed, %, as printed (they do not follow from the others).
        flops: as printed (they cannot be derived), in millions for VGG16, in no unit that is named for ResNet18.
        seconds: of the genetic algorithm.
        neurons: of each convolution that the table prints: of ResNet18 the first 18, in order of computation.
    """

    params: float
    megabytes: float
    top1: float
    removed: int
    flops: float
    seconds: float
    neurons: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A network of the paper.

    Attributes:
        name: as ``gaprune.models.build`` knows it.
        convolutions: that it has, printed or not.
        params: of the original (Table 1).
        layers: the same.
        megabytes: the same.
        rounds: in order.
        flops_in_millions: whether the unit of the rounds' FLOPs is printed.
    """

    name: str
    convolutions: int
    params: int
    layers: int
    megabytes: float
    rounds: tuple[Round, ...]
    flops_in_millions: bool = True


def _vgg16(one: int, two: int, three: int, four: int, five: int, middle: int, last: int) -> tuple[int, ...]:
    return (one, two, three, four, five, middle, middle, *[last] * 6)


def _resnet18(stream: tuple[int, ...], inner: tuple[int, ...], last: tuple[int, ...]) -> tuple[int, ...]:
    """The 18 printed rows from those that differ: 1; 7; 12, then 2; 6; 11, then 16 and 17."""
    (a, b, c), (d, e, f), (g, h) = stream, inner, last
    return (a, d, a, d, a, e, b, b, e, b, f, c, c, f, c, g, h, h)


NETWORKS = {
    "vgg16": Network(
        "vgg16",
        13,
        14_849_345,
        16,
        56.13,
        (
            Round(13.2, 53.438, 0.8571, 7, 60.1, 543.81, _vgg16(64, 64, 128, 128, 256, 256, 512)),
            Round(3.1, 11.882, 0.8597, 21, 48.5, 491.52, _vgg16(39, 52, 116, 122, 231, 128, 205)),
            Round(0.9, 3.578, 0.8551, 29, 40.8, 488.79, _vgg16(24, 42, 105, 116, 208, 64, 82)),
            Round(0.5, 1.787, 0.8473, 55, 29.5, 246.66, _vgg16(15, 34, 95, 111, 188, 32, 33)),
            Round(0.3, 1.243, 0.8374, 60, 11.2, 219.34, _vgg16(9, 28, 86, 106, 170, 16, 14)),
        ),
    ),
    "resnet18": Network(
        "resnet18",
        20,
        11_689_512,
        72,
        57.42,
        (
            Round(11.2, 42.707, 0.7223, 5, 1.800, 367.83, _resnet18((64, 128, 256), (64, 128, 256), (512, 512))),
            Round(3.0, 11.529, 0.7213, 26, 1.080, 332.46, _resnet18((53, 83, 164), (58, 103, 205), (359, 252))),
            Round(0.9, 3.591, 0.7223, 30, 0.736, 330.61, _resnet18((44, 54, 106), (53, 83, 164), (252, 124))),
            Round(0.3, 1.218, 0.7234, 33, 0.590, 166.83, _resnet18((36, 36, 68), (48, 67, 132), (177, 61))),
            Round(0.1, 0.460, 0.6558, 33, 0.502, 148.36, _resnet18((30, 24, 44), (44, 54, 106), (124, 31))),
        ),
        flops_in_millions=False,
    ),
}

FROM_SCRATCH = {
    "UL-Hopfield": (0.8310, 998.27),
    "CvP": (0.8319, 692.22),
    "CCN": (0.8336, 743.94),
    "ThresholdNet": (0.8528, 1014.47),
}
"""Table 4: top-1 and seconds of small networks that were trained from scratch."""


def convolutions(graph: Graph) -> list[str]:
    """Names of all convolutions, in order of computation."""
    return [layer.name for layer in graph.layers if layer.convolution]


def implied_parameters(model_name: str, neurons: tuple[int, ...], *, classes: int = 10) -> int:
    """Convolution parameters, biases included, of a network that has so many neurons left.

    Args:
        model_name: as ``gaprune.models.build`` knows it.
        neurons: of each convolution, in order of computation.
        classes: of the head, which is not counted.

    Raises:
        ValueError: coupled convolutions are given different widths, or there are not so many convolutions.
    """
    model = build(model_name, classes).eval()
    graph = build_graph(model, (3, 32, 32))
    compact = Compactor(model, graph)(with_neurons(graph, neurons))
    found = [m for m in compact.modules() if isinstance(m, nn.Conv2d)]
    return sum(parameter.numel() for module in found for parameter in module.parameters())


def implied_counts(network: Network) -> list[int | None]:
    """Convolution parameters that the widths of each round imply; ``None`` where not all widths are printed."""
    return [
        implied_parameters(network.name, one.neurons) if len(one.neurons) == network.convolutions else None
        for one in network.rounds
    ]


def with_neurons(graph: Graph, neurons: tuple[int, ...]) -> Masks:
    """Masks that keep the first so many neurons of each convolution."""
    layers = [layer for layer in graph.layers if layer.convolution]
    if len(neurons) != len(layers):
        raise ValueError(f"expected widths of {len(layers)} convolutions, got {len(neurons)}")
    masks = Masks.full(graph)
    for layer, width in zip(layers, neurons, strict=True):
        masks.neurons[layer.outputs[width:]] = False
    for layer, width in zip(layers, neurons, strict=True):
        if int(np.count_nonzero(masks.kept(layer.outputs))) != width:
            raise ValueError(f"{layer.name} cannot have {width} neurons: it is coupled to a narrower convolution")
    return masks
