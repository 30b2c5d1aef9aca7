"""Names for contents: what was trained on, and which weights came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gaprune.data import ImageSet

_CHUNK = 256


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of names, types, shapes and values, whatever the order, device and memory format."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        _feed(sha, name, tensors[name])
    return sha.hexdigest()


def _feed(sha: hashlib._Hash, name: str, value: Tensor) -> None:
    tensor = value.detach().cpu().contiguous()
    sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
    sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)


def digest_images(images: ImageSet) -> str:
    """SHA-256, in hex, of the pixels and labels of a set, order included; of photographs not decoded, of their files.

    The same whether the pixels are in memory or not.
    """
    if isinstance(images.images, Tensor):
        return digest_tensors({"images": images.images, "labels": images.labels})
    files = images.images.digest()
    if files is not None:
        return files
    sha = hashlib.sha256(f"images:{torch.uint8}:{tuple(images.images.shape)};".encode())
    for start in range(0, len(images), _CHUNK):
        sha.update(images.images[start : start + _CHUNK].cpu().contiguous().view(-1).numpy().data)
    _feed(sha, "labels", images.labels)
    return sha.hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256, in hex, of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
