"""Tensors from files: read without running any code of theirs, found wherever a training script has put them."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gaprune.errors import CheckpointError, first_line

PREFERRED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)
"""Where scripts put a network's weights; plain ones go before their moving averages."""

_NEVER = ("optim", "sched", "scaler", "rng", "loops", "callbacks")
"""Beginnings of the names of what else lies in a checkpoint."""

_DEEPEST = 4


@dataclass(frozen=True)
class StoredWeights:
    """One network's weights in a file.

    Attributes:
        tensors: by name, on the CPU, as stored.
        place: where in the file they lie, such as ``state_dict``; empty where they are all of it.
        metadata: of a safetensors file.
    """

    tensors: dict[str, Tensor]
    place: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata.

    Args:
        path: a safetensors file, or a state dict saved with ``torch.save``, also one inside a training script's
            checkpoint (the first of ``PREFERRED``); told apart by content.

    Returns:
        Tensors by name, on the CPU, as stored; and the safetensors metadata, empty for a state dict.

    Raises:
        CheckpointError: there is no such file, or it is damaged, or holds more than tensors.
    """
    found = read_stored(path)[0]
    return found.tensors, found.metadata


def read_stored(path: Path) -> list[StoredWeights]:
    """All weights of networks that lie in a file, at least one, likeliest first; arguments as for ``read_weights``."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}")
    try:
        return [_read_safetensors(path)] if _is_safetensors(path) else _read_state_dicts(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _is_safetensors(path: Path) -> bool:
    """Safetensors begin with the header's length in 8 bytes, then JSON."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> StoredWeights:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return StoredWeights(tensors, metadata=dict(file.metadata() or {}))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole safetensors file: {error}") from error


def _read_state_dicts(path: Path) -> list[StoredWeights]:
    _check_declared(path)
    content = _loaded(path)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds {type(content).__name__}, expected a state dict of tensors")
    found = _nested(content)
    if found:
        return sorted(found, key=lambda one: _rank(one.place))
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return [StoredWeights(dict(content))]
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} is no plain state dict: its entry {name!r} is {type(value).__name__}, expected a "
                "tensor; save model.state_dict()"
            )
    raise AssertionError("unreachable")


def _check_declared(path: Path) -> None:
    """Refuse an archive whose entries are larger than the file, before memory is taken for them.

    ``torch.save`` never packs its entries; one that is packed, or stands for several, may be a thousand times larger.

    Raises:
        CheckpointError: it says of itself that it holds more than there is.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {first_line(error)}") from error
    size = path.stat().st_size
    if declared > size:
        raise CheckpointError(
            f"{path} says that it holds {declared:,} bytes, and has {size:,}: it is damaged or packed, which "
            "torch.save never does; save model.state_dict() or safetensors"
        )


def _loaded(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign files, which are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors, which is not loaded because it could run code: "
            "save model.state_dict() or safetensors"
        ) from error
    except OSError:
        raise
    except Exception as error:  # damaged files make torch raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, KeyError) or len(reason) < 5:  # as 101, of a letter that stands for no command
            reason = "what it begins with was written by no torch.save"
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from error


def _nested(content: Mapping[Any, Any], place: str = "", depth: int = 0) -> list[StoredWeights]:
    """Every mapping of names to tensors inside another one."""
    found = []
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Mapping) or name.startswith(_NEVER) or depth >= _DEEPEST:
            continue
        inner = f"{place}.{name}" if place else name
        if value and all(isinstance(key, str) and isinstance(part, Tensor) for key, part in value.items()):
            found.append(StoredWeights(dict(value), inner))
        else:
            found += _nested(value, inner, depth + 1)
    return found


def _rank(place: str) -> tuple[int, str]:
    first = place.partition(".")[0]
    return (PREFERRED.index(first) if first in PREFERRED else len(PREFERRED)), place
