"""What a network says of the images that it was trained on, where it says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from gaprune.runs import json_value

WHITE = 255.0

PREPROCESSING = "preprocessing"
"""Attribute of a network under which whoever builds it may leave a ``Preprocessing``."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network's images were made.

    Attributes:
        mean: per channel mean of 0..255 pixels.
        std: per channel standard deviation of the same.
        source: who says so.
        crop: side of the square that it was trained on, in pixels, where it is told.
        resize: what the short side was resized to before, where it is told.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    crop: int | None = None
    resize: int | None = None


def of_model(model: nn.Module) -> Preprocessing | None:
    """What a network says of itself: what its builder left, or timm's ``pretrained_cfg``; None where it is silent."""
    left = getattr(model, PREPROCESSING, None)
    if isinstance(left, Preprocessing):
        return left
    for name in ("pretrained_cfg", "default_cfg"):
        found = of_timm(getattr(model, name, None), name)
        if found is not None:
            return found
    return None


def of_timm(config: Any, called: str = "pretrained_cfg") -> Preprocessing | None:
    """From timm's configuration of a network: a mapping, or an object with the same names."""
    if config is None:
        return None

    def get(name: str) -> Any:
        return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)

    size, share = get("input_size"), get("crop_pct")
    crop = int(size[-1]) if isinstance(size, Sequence) and size else None
    resize = math.floor(crop / share) if crop and isinstance(share, (int, float)) and 0 < share <= 1 else None
    return _made(get("mean"), get("std"), f"timm's {called}", crop, resize)


def of_weights(weights: Any) -> Preprocessing | None:
    """From an entry of torchvision's weights: what its ``transforms()`` do."""
    try:
        transforms = weights.transforms()
    except (AttributeError, TypeError):
        return None
    crop, resize = (_single(getattr(transforms, name, None)) for name in ("crop_size", "resize_size"))
    name = f"torchvision's transforms of {weights}"
    return _made(getattr(transforms, "mean", None), getattr(transforms, "std", None), name, crop, resize)


def of_metadata(metadata: Mapping[str, str], name: str) -> Preprocessing | None:
    """From the metadata of a safetensors file: ``mean`` and ``std`` as JSON lists, of 0..1 or 0..255 pixels."""
    try:
        return _made(json_value(metadata["mean"]), json_value(metadata["std"]), f"the metadata of {name}", None, None)
    except (KeyError, ValueError):
        return None


def _made(mean: Any, std: Any, source: str, crop: int | None, resize: int | None) -> Preprocessing | None:
    try:
        means, deviations = (tuple(float(value) for value in values) for values in (mean, std))
    except (TypeError, ValueError):
        return None
    usable = means and len(means) == len(deviations) and min(deviations) > 0 and all(map(math.isfinite, means))
    if not usable:
        return None
    scale = WHITE if max(means + deviations) <= 1 else 1.0
    return Preprocessing(
        tuple(scale * value for value in means), tuple(scale * value for value in deviations), source, crop, resize
    )


def _single(size: Any) -> int | None:
    """A side from ``224`` or ``[224]``."""
    if isinstance(size, int):
        return size
    return int(size[0]) if isinstance(size, Sequence) and len(size) == 1 else None
