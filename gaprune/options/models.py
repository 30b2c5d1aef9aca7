"""Names of networks, and what a wrong one may mean; read from the packages' files, so that torch is not imported."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
from pathlib import Path

from gaprune.errors import OptionError
from gaprune.options.choices import FORMS, MODELS

REGISTERED = re.compile(r"^@register_model\b[^\n]*\n(?:@[^\n]*\n)*def (\w+)\(", re.MULTILINE)
"""How torchvision and timm mark a function that makes a network."""


@functools.cache
def packaged_names(package: str) -> tuple[str, ...]:
    """The classifiers that an installed package registers, in alphabetical order; none where it is not installed.

    Args:
        package: ``torchvision`` or ``timm``.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return ()
    files = (Path(found.origin).parent / "models").glob("*.py")
    return tuple(sorted(name for file in files for name in REGISTERED.findall(file.read_text(encoding="utf-8"))))


def check_model(name: str) -> None:
    """Refuse a network's name that stands for none; what has a colon is looked at when data is about to be read.

    Raises:
        OptionError: the valid names are listed, and what may be meant.
    """
    if ":" not in name and name not in MODELS:
        raise unknown_model(name)


def unknown_model(name: str) -> OptionError:
    """The error for a name that stands for no network, with what may be meant.

    >>> print(unknown_model("resnet50"))
    unknown model 'resnet50': choose one of vgg16, resnet18, torchvision:NAME, timm:NAME, package.module:factory (did \
you mean torchvision:resnet50?)
    """
    close = _alike(name) or _nearest(name)
    if not close and "." in name:
        module, _, factory = name.rpartition(".")
        close = [f"{module}:{factory}"]
    meant = f" (did you mean {close[0]}?)" if close else ""
    return OptionError(f"unknown model {name!r}: choose one of {', '.join((*MODELS, *FORMS))}{meant}")


def _alike(name: str) -> list[str]:
    """Names that differ in case and in strokes alone: of those built in, or else of torchvision, or else of timm."""
    wanted = _plain(name.rpartition(":")[2])
    if own := [one for one in MODELS if _plain(one) == wanted]:
        return own
    both = ([f"{package}:{one}" for one in packaged_names(package) if _plain(one) == wanted] for package in _PACKAGES)
    return next((found for found in both if found), [])


def _nearest(name: str) -> list[str]:
    full = {one: f"torchvision:{one}" for one in packaged_names("torchvision")} | {one: one for one in MODELS}
    return [full[one] for one in difflib.get_close_matches(name.lower(), list(full), n=1, cutoff=0.75)]


_PACKAGES = ("torchvision", "timm")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
