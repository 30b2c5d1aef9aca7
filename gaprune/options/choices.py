"""What may be chosen by name: importable without torch, so that help and a wrong word are told at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from gaprune.errors import OptionError, choice_error

Device = Literal["auto", "cpu", "cuda"]
Stem = Literal["cifar", "imagenet"]
Data = Literal["auto", "cifar10", "digits"]
SearchFrom = Literal["auto", "train", "test", "validation"]
Normalise = Literal["imagenet", "half", "none"]
Genes = Literal["neurons", "connections", "both"]
Layers = Literal["all", "conv"]
Importance = Literal["obs", "l2", "bn", "taylor", "random"]
Compensation = Literal["taps", "channels", "none"]
Recalibration = Literal["anchored", "plain"]
Fitness = Literal["auto", "accuracy", "loss", "divergence"]
Precision = Literal["auto", "float32", "bfloat16"]
Algorithm = Literal["auto", "nsga2", "nsga3", "cma", "tuned", "random", "rounds"]
Tested = Literal["shown", "all"]
Backend = Literal["auto", "local", "ray"]
Log = Literal["none", "tensorboard"]
Format = Literal["onnx", "pt2", "state-dict"]
LatencyRuntime = Literal["torch", "compile", "onnxruntime", "onnxruntime-int8"]
LatencyFrom = Literal["auto", "stopwatch", "table"]
Integers = Literal["int8"]
LogLevel = Literal["debug", "info", "warning", "error"]

MODELS = ("vgg16", "resnet18")
TEXT_MODEL = "bert"
"""The model whose comparisons are of texts, and have options of their own."""

FORMS = ("torchvision:NAME", "timm:NAME", "package.module:factory")
"""What a network's name may be besides ``MODELS``."""

OBJECTIVES = ("accuracy", "loss", "divergence", "flops", "params", "size", "latency", "robustness")
ROBUSTNESS = "robustness"
UNDER_ATTACK = ("fgsm_2", "fgsm_8", "pgd_2", "pgd_8")
"""What accuracies under attack are called: the attack, and the largest change of a pixel in 255ths of its range."""


def names(choice: Any) -> tuple[str, ...]:
    """The words of a ``Literal``.

    >>> names(Stem)
    ('cifar', 'imagenet')
    """
    return get_args(choice)


def check_objectives(wanted: Iterable[str]) -> None:
    """Refuse an objective's name that stands for none; ``module:NAME`` is looked at when it is imported.

    Raises:
        OptionError: the valid names are listed.
    """
    for name in wanted:
        if ":" not in name and name not in OBJECTIVES:
            raise choice_error("objective", name, (*OBJECTIVES, "package.module:NAME"))


def check_groups(genes: str, groups: int) -> None:
    """Refuse groups of connections where connections are no genes.

    Raises:
        OptionError: one line that says what to add.
    """
    if groups > 1 and genes == "neurons":
        raise OptionError("connection-groups needs connection genes: use --genes connections or both")
