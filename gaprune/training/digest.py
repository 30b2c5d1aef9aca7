"""Names for contents: what was trained on, and which weights came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gaprune.data.images import ImageSet


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of names, types, shapes and values, whatever the order, device and memory format."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def digest_images(images: ImageSet) -> str:
    """SHA-256, in hex, of the pixels and labels of a set, order included."""
    return digest_tensors({"images": images.images, "labels": images.labels})


def digest_json(value: Any) -> str:
    """SHA-256, in hex, of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
