"""Connections that are not there stay away while a network is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gaprune.genome import Bits


@contextmanager
def masked_gradients(network: nn.Module, kernels: Mapping[str, Bits]) -> Iterator[None]:
    """Give kernels that are not there no gradient: zero weights stay zero under SGD and weight decay.

    Args:
        network: its masked kernels are zero.
        kernels: by weight name, (out, in) boolean: which kernels are there.
    """
    handles = []
    for name, present in kernels.items():
        weight = network.get_parameter(name)
        if not weight.requires_grad:
            continue
        mask = torch.from_numpy(present).to(weight.device, weight.dtype)[(..., *[None] * (weight.ndim - 2))]
        handles.append(weight.register_hook(_multiplied(mask)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _multiplied(mask: Tensor) -> object:
    return lambda gradient: gradient * mask
