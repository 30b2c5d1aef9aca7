"""Names that stand for known data sets, and what a caller's own data may be called."""

from __future__ import annotations

from collections.abc import Sequence

from gaprune.data.normalisation import CIFAR10_CLASSES

CIFAR10, DIGITS = "cifar10", "digits"


def is_cifar10(classes: tuple[str, ...], shape: Sequence[int]) -> bool:
    """Whether classes and the (..., H, W) of images are CIFAR-10's, however its pixels were saved."""
    return classes == CIFAR10_CLASSES and tuple(shape[-2:]) == (32, 32)


def own_name(name: str, kind: str, classes: tuple[str, ...], shape: Sequence[int]) -> str:
    """What a caller's own data are called: never as a known data set that they are not.

    Args:
        name: as the caller has it.
        kind: of source, which is added to a name that is taken.
        classes: class names in label order.
        shape: (..., H, W) of images.
    """
    taken = name == DIGITS or (name == CIFAR10 and not is_cifar10(classes, shape))
    return f"{name}-{kind}" if taken else name
