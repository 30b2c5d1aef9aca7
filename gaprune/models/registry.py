"""From a network's name to the network."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import nn

from gaprune.choices import FACTORY, MODELS, Stem, names
from gaprune.errors import ModelError, choice_error
from gaprune.models.resnet import resnet18
from gaprune.models.vgg import VGG16

_STEMS = names(Stem)


def model_names() -> tuple[str, ...]:
    """The names that ``build`` knows, besides ``package.module:factory``."""
    return MODELS


def build(name: str, num_classes: int, *, stem: str = "cifar") -> nn.Module:
    """An untrained network, initialised from torch's global random state.

    Args:
        name: one of ``model_names()``, or ``package.module:factory``, which is imported and called as
            ``factory(num_classes=num_classes)``: ``torchvision.models:resnet34`` for example.
        num_classes: outputs of the head, at least 1.
        stem: first layers of ``resnet18``: ``cifar`` for 32x32 images or ``imagenet``; others ignore it.

    Raises:
        OptionError: the name or the stem is unknown.
        ModelError: a factory cannot be imported or called, or gives no ``nn.Module``.
    """
    if stem not in _STEMS:
        raise choice_error("stem", stem, _STEMS)
    if num_classes < 1:
        raise ModelError(f"a network needs at least 1 class, got {num_classes}")
    if ":" in name:
        return _call(name, num_classes)
    if name == "vgg16":
        return VGG16(num_classes)
    if name == "resnet18":
        return resnet18(num_classes, "cifar" if stem == "cifar" else "imagenet")
    raise choice_error("model", name, (*MODELS, FACTORY))


def _call(name: str, num_classes: int) -> nn.Module:
    factory = _import(name)
    try:
        model = factory(num_classes=num_classes)
    except Exception as error:  # a stranger's code may raise anything
        raise ModelError(f"{name} cannot be called with num_classes={num_classes}: {_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} gave {type(model).__name__}, expected a torch.nn.Module")
    return model


def _import(name: str) -> Callable[..., object]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise ModelError(f"{name!r} is not of the form package.module:factory")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # importing runs a stranger's code
        raise ModelError(f"{name} cannot be imported: {_line(error)}") from error
    if not callable(factory):
        raise ModelError(f"{name} is {type(factory).__name__}, expected a callable that builds a network")
    return factory  # type: ignore[no-any-return]


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
