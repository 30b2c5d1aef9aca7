"""A network's tensors by name, shared ones under their first name."""

from __future__ import annotations

from torch import Tensor, nn


def state_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, detached; a tensor with two names stands under both."""
    return {name: tensor.detach() for name, tensor in _named(model)}


def first_names(model: nn.Module) -> dict[str, str]:
    """For each tensor's name the first name of the same tensor, so that shared weights stay shared."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in _named(model)}


WAS_GROUPED = "was_grouped"
"""Attribute of convolutions of cut networks that were grouped, not depthwise, before they were cut."""


def was_grouped(model: nn.Module, name: str) -> bool:
    """Whether the tensor ``name`` is of a convolution that was grouped before the network was cut."""
    return bool(getattr(model.get_submodule(name.rpartition(".")[0]), WAS_GROUPED, False))


def sole_convolution(model: nn.Module, name: str) -> bool:
    """Whether the tensor ``name`` belongs to exactly one module, and that is a convolution."""
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    tensor = getattr(owner, leaf)
    holders = sum(any(held is tensor for held in module._parameters.values()) for module in model.modules())
    return holders == 1 and isinstance(owner, nn.Conv1d | nn.Conv2d | nn.Conv3d)


def _named(model: nn.Module) -> list[tuple[str, Tensor]]:
    parameters = model.named_parameters(remove_duplicate=False)
    return [*parameters, *model.named_buffers(remove_duplicate=False)]
