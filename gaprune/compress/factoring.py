"""Layers as products of smaller ones: what Tucker leaves in the place of a convolution, linear layer or embedding.

Here are the module trees only, made from the layer and the ranks; ``tucker`` fills them, ``storage`` loads them.
"""

from __future__ import annotations

import math

from torch import nn

FACTORABLE = (nn.Conv2d, nn.Linear, nn.Embedding)

CONVOLUTION_FACTORS = 3


class Factored(nn.Sequential):
    """A layer's factors in a row."""


def factored(layer: nn.Module, ranks: tuple[int, int]) -> Factored:
    """Untrained factors with the shape of ``layer``.

    Args:
        layer: a dense ``Conv2d``, ``Linear`` or ``Embedding``.
        ranks: of the input and output channels of a convolution (Tucker-2: 1 x 1, k x k core, 1 x 1); of a matrix, and
            so of a 1 x 1 convolution, both are the same, its core being multiplied into a factor.
    """
    rank = min(ranks)
    if isinstance(layer, nn.Conv2d):
        return _convolution(layer, *ranks) if math.prod(layer.kernel_size) > 1 else _pointwise(layer, rank)
    if isinstance(layer, nn.Embedding):
        return Factored(
            nn.Embedding(layer.num_embeddings, rank, padding_idx=layer.padding_idx),
            nn.Linear(rank, layer.embedding_dim, bias=False),
        )
    assert isinstance(layer, nn.Linear), f"no factors for {type(layer).__name__}"
    return Factored(
        nn.Linear(layer.in_features, rank, bias=False),
        nn.Linear(rank, layer.out_features, bias=layer.bias is not None),
    )


def _convolution(layer: nn.Conv2d, inputs: int, outputs: int) -> Factored:
    core = nn.Conv2d(
        inputs,
        outputs,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=False,
        padding_mode=layer.padding_mode,
    )
    return Factored(
        nn.Conv2d(layer.in_channels, inputs, 1, bias=False),
        core,
        nn.Conv2d(outputs, layer.out_channels, 1, bias=layer.bias is not None),
    )


def _pointwise(layer: nn.Conv2d, rank: int) -> Factored:
    first = nn.Conv2d(
        layer.in_channels,
        rank,
        1,
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        bias=False,
        padding_mode=layer.padding_mode,
    )
    return Factored(first, nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None))


def place(network: nn.Module, path: str, factors: Factored) -> None:
    """Put factors in the place of the layer at ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, factors)


def placed(network: nn.Module) -> dict[str, list[int]]:
    """By path, the ranks of each factored layer of a network."""
    found = {}
    for path, module in network.named_modules():
        if isinstance(module, Factored):
            shapes = [child.weight.shape for child in module if isinstance(child, FACTORABLE)]
            outputs = shapes[-1][1]
            found[path] = [shapes[0][0] if len(shapes) == CONVOLUTION_FACTORS else outputs, outputs]
    return found
