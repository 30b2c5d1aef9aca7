"""From a network's name to the network."""

from __future__ import annotations

from torch import nn

from gaprune.errors import ModelError, choice_error
from gaprune.models.attention import open_attention
from gaprune.models.factories import call_factory, find_factory
from gaprune.models.resnet import resnet18
from gaprune.models.vgg import VGG16
from gaprune.models.zoo import build_from_zoo, check_zoo_name, of_zoo
from gaprune.options import MODELS, Stem, names, unknown_model

STEMS = names(Stem)
"""First layers of ``resnet18``."""


def model_names() -> tuple[str, ...]:
    """The names that ``build`` knows, besides ``FORMS``."""
    return MODELS


def stem_of(name: str, stem: str) -> str:
    """The stem that a network has: the one asked for where it has a choice, else always the same."""
    return stem if name == "resnet18" else STEMS[0]


def check_name(name: str, *, stem: str = "cifar") -> None:
    """Whether a name stands for a network; a factory is imported, and nothing is built.

    Raises:
        OptionError: the name or the stem is unknown; names that may be meant are given.
        ModelError: a factory cannot be imported, or timm is not installed.
    """
    if stem not in STEMS:
        raise choice_error("stem", stem, STEMS)
    if of_zoo(name):
        check_zoo_name(name)
    elif ":" in name:
        find_factory(name)
    elif name not in model_names():
        raise unknown_model(name)


def build(name: str, num_classes: int, *, stem: str = "cifar") -> nn.Module:
    """An untrained network, initialised from torch's global random state.

    Args:
        name: one of ``model_names()``; ``torchvision:resnet50`` and the like; ``timm:NAME`` where timm is installed; or
            ``package.module:factory``, which is imported and called as ``factory(num_classes=num_classes)``, or as
            ``factory()`` where it takes no such argument.
        num_classes: outputs of the head, at least 1.
        stem: first layers of ``resnet18``: ``cifar`` for 32x32 images or ``imagenet``; others ignore it.

    Raises:
        OptionError: the name or the stem is unknown.
        ModelError: a factory cannot be imported or called, or gives no ``nn.Module``.

    Example:
        >>> build("resnet18", 10, stem="imagenet").conv1.kernel_size
        (7, 7)
    """
    check_name(name, stem=stem)
    if num_classes < 1:
        raise ModelError(f"a network needs at least 1 class, got {num_classes}")
    if of_zoo(name):
        return open_attention(build_from_zoo(name, num_classes))
    if ":" in name:
        return open_attention(call_factory(name, num_classes))
    if name == "vgg16":
        return VGG16(num_classes)
    return resnet18(num_classes, "cifar" if stem == "cifar" else "imagenet")
