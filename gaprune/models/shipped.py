"""The trained weights that come with the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class ShippedWeights:
    """A trained network's file and what it must be used with.

    Attributes:
        path: the safetensors file.
        mean: per channel mean of 0..255 pixels that its input is normalised with.
        std: per channel standard deviation of the same.
        saw_all_training_images: whether no training image is unseen by it, so that a search set must be held
            out of the test images.
        accuracy: top-1 on its own test images, 0 to 1.
        description: data, recipe and accuracy in a sentence or two.
    """

    path: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    saw_all_training_images: bool
    accuracy: float
    description: str


def why_none_shipped(model: str, stem: str, classes: Sequence[str], image_shape: Sequence[int]) -> str | None:
    """For a network that has shipped weights, why they do not serve; ``None`` where they do, or where it has none."""
    entries = [entry for entry in _index() if entry["model"] == model]
    if not entries or shipped_weights(model, stem, classes, image_shape) is not None:
        return None
    of_stem = [entry for entry in entries if entry["stem"] in (None, stem)]
    if not of_stem:
        return f"they have the stem {entries[0]['stem']}"
    alike = [entry for entry in of_stem if sorted(entry["classes"]) == sorted(classes)]
    if not alike:
        return f"they know {len(of_stem[0]['classes'])} classes, {', '.join(of_stem[0]['classes'][:3])} and so on"
    if alike[0]["classes"] != list(classes):
        return "they know the classes in another order"
    return f"they take images of {'x'.join(map(str, alike[0]['image_shape']))}"


def shipped_weights(model: str, stem: str, classes: Sequence[str], image_shape: Sequence[int]) -> ShippedWeights | None:
    """The shipped weights that fit, or None.

    Args:
        model: a network's name.
        stem: its stem, which only matters to networks that have a choice.
        classes: class names in label order.
        image_shape: (C, H, W) of the images.
    """
    for entry in _index():
        if (
            entry["model"] == model
            and entry["stem"] in (None, stem)
            and entry["classes"] == list(classes)
            and entry["image_shape"] == list(image_shape)
        ):
            return ShippedWeights(
                path=_FOLDER / entry["file"],
                mean=tuple(entry["mean"]),
                std=tuple(entry["std"]),
                saw_all_training_images=entry["saw_all_training_images"],
                accuracy=entry["accuracy"],
                description=entry["description"],
            )
    return None


def _index() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))
    return found
