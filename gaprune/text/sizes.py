"""How large a model's file will be, from the shapes of its layers alone."""

from __future__ import annotations

import torch
from torch import nn

from gaprune.compress import factored, place
from gaprune.runs import MEGABYTE
from gaprune.text.networks import build_network

FLOAT = 4

PAPER_SHAPE = {"vocab_size": 119_547}
"""Of bert-base-multilingual-cased, where it differs from the library's default BERT."""

PAPER_RANK = 20
"""The rank of every linear layer of the encoder that gives the paper's 385 MB for Tucker."""


def megabytes(network: nn.Module, *, linear: int = FLOAT, embedding: int = FLOAT) -> float:
    """Size of the tensors in MB (10^6 bytes), biases and all other tensors in float32.

    Args:
        network: on any device; meta will do.
        linear: bytes of a weight of a linear layer.
        embedding: bytes of an entry of an embedding.
    """
    total = sum(parameter.numel() * FLOAT for parameter in network.parameters())
    for module in network.modules():
        width = linear if isinstance(module, nn.Linear) else embedding if isinstance(module, nn.Embedding) else FLOAT
        if width != FLOAT:
            assert isinstance(module.weight, torch.Tensor)
            total += module.weight.numel() * (width - FLOAT)
    return total / MEGABYTE


def skeleton(base: dict[str, object]) -> nn.Module:
    """The network that ``base`` describes, without memory for its weights."""
    with torch.device("meta"):
        return build_network(base)


def factor_encoder(network: nn.Module, rank: int) -> None:
    """Replace every linear layer of a BERT's encoder by factors of ``rank``, in place."""
    found = [path for path, module in network.named_modules() if ".encoder." in path and isinstance(module, nn.Linear)]
    with torch.device("meta"):
        for path in found:
            place(network, path, factored(network.get_submodule(path), (rank, rank)))
