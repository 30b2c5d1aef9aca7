"""Small networks to distil into."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaprune.compress.widths import uniform
from gaprune.compress.words import share
from gaprune.errors import OptionError
from gaprune.prune import Compactor, Masks, checked_graph

THIN = "thin"
"""The original's form, all widths cut alike."""

PARAMS_SHARE = 0.02
"""Parameters of the default student, of the original's."""

BISECTIONS = 20


def is_thin(name: str) -> bool:
    """Whether a student's name is ``thin`` or ``thin=SHARE``."""
    return name.partition("=")[0] == THIN


def thin_share(name: str) -> float:
    """The share of the original's parameters that ``thin`` or ``thin=SHARE`` stands for.

    Raises:
        OptionError: another name, or no share.
    """
    wanted = PARAMS_SHARE if name == THIN else share([name], THIN)
    if wanted is None:
        raise OptionError(f"unknown student {name!r}: a thin one is {THIN} or {THIN}=SHARE")
    return wanted


def thin_student(original: nn.Module, image_shape: tuple[int, int, int], name: str) -> nn.Module:
    """The original with all widths cut by one factor, its weights drawn anew from torch's global random state.

    Args:
        original: for its form; its weights do not matter.
        image_shape: (C, H, W).
        name: ``thin``, for 1/50 of the parameters, or ``thin=SHARE``: the widest network that has no more.

    Raises:
        OptionError: another name, or no share.
        ModelError: the network cannot be cut.
    """
    wanted = thin_share(name)
    graph = checked_graph(original, image_shape)
    cut, limit = Compactor(original, graph), wanted * _params(original)
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _params(cut(Masks(uniform(graph, middle)))) > limit:
            high = middle
        else:
            low = middle
    network = cut(Masks(uniform(graph, low)))
    draw_weights(network)
    return network.eval()


def draw_weights(network: nn.Module) -> None:
    """Random weights: He et al. (2015) for convolutions, torch's own for what else can draw itself anew."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, _BatchNorm)):
            module.reset_parameters()


def _params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
