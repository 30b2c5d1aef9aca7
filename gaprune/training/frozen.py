"""Tensors that a caller has frozen stay as they are; only a network that is frozen as a whole is trained whole."""

from __future__ import annotations

from torch import nn


def thawed(network: nn.Module) -> nn.Module:
    """The network itself, ready to be trained: where nothing of it would learn, everything does.

    A network whose every parameter is frozen was made ready for inference, and says nothing of what may be trained.

    Example:
        >>> thawed(nn.Linear(2, 2).requires_grad_(False)).weight.requires_grad
        True
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        network.requires_grad_(True)
    return network


def frozen_names(network: nn.Module) -> list[str]:
    """The parameters that training leaves as they are."""
    names = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    return [] if len(names) == len(list(network.parameters())) else names


def frozen_line(network: nn.Module) -> str | None:
    """What to say of a network's frozen tensors before a training; ``None`` where it has none."""
    names, count = frozen_names(network), len(list(network.parameters()))
    if names:
        return f"{len(names)} of {count} tensors are frozen (requires_grad=False) and stay so: {names[0]} and so on"
    if count and not any(parameter.requires_grad for parameter in network.parameters()):
        return "every tensor is frozen (requires_grad=False), which is taken for inference: all are trained"
    return None
