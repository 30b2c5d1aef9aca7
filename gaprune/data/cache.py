"""Where data sets are kept, and decoded images as files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gaprune.runs import atomic_write, json_value

_LOGGER = logging.getLogger(__name__)

STATE_DIGITS = 16
"""Of a SHA-256 in the name of a file."""


def default_cache_dir() -> Path:
    """``$GAPRUNE_CACHE``, or the user's cache folder of this system."""
    chosen = os.environ.get("GAPRUNE_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("gaprune")


def place_of(root: Path) -> str:
    """Names a folder of images, wherever one stands: by its path."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:STATE_DIGITS]


def store(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to ``path``, whole or not at all.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"meta": json.dumps(dict(meta)), "checksums": json.dumps(checksums(tensors))}
    atomic_write(path, save(dict(tensors), metadata=record))


def fetch(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What ``store`` wrote to ``path``; None where there is no such file or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if json_value(record["checksums"]) == checksums(tensors):
            return tensors, json_value(record["meta"])
        reason = "its checksums do not match"
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        reason = str(error)
    _LOGGER.warning("the cached images in %s are damaged and are made again: %s", path, reason)
    return None


def checksums(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """CRC-32 of the values of tensors on the CPU, by name."""
    return {name: zlib.crc32(tensor.contiguous().numpy().data) for name, tensor in tensors.items()}
