"""Numbered snapshots of an algorithm: written whole, hashed, the last few kept.

A state is two files, ``000012.safetensors`` and ``000012.json``. The JSON is written last and holds the
hashes of both parts, so a state exists only when all of it does.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from gaprune.runs.files import atomic_write, sync_folder, write_json
from gaprune.runs.reading import json_object

KEPT = 3


@dataclass(frozen=True)
class State:
    """A snapshot as it was saved.

    Attributes:
        number: of the generation.
        arrays: by name; fresh copies, the caller's to change.
        meta: JSON values.
    """

    number: int
    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any]


def save_state(folder: Path, number: int, arrays: Mapping[str, NDArray[Any]], meta: dict[str, Any]) -> None:
    """Save state ``number`` and drop all but the last ``KEPT``.

    Raises:
        OSError: the disk is full or the folder cannot be written; the states before stay as they are.
        ValueError: ``meta`` holds NaN or an infinity.
    """
    content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    meta = json.loads(json.dumps(meta, allow_nan=False))
    tensors, index = _files(folder, number)
    record = {"number": number, "sha256": _sha256(content), "meta_sha256": _hash(meta), "meta": meta}
    if not folder.exists():
        folder.mkdir()
        sync_folder(folder.parent)
    try:
        atomic_write(tensors, content)
        write_json(index, record)
    except OSError:
        if not index.exists():
            tensors.unlink(missing_ok=True)
        raise
    _drop_old(folder, number)


def latest_state(folder: Path, before: float = math.inf) -> tuple[State | None, list[str]]:
    """The newest undamaged state before a number, or None, and one line for each damaged one met on the way.

    Damaged ones are set aside under the name ``*.damaged``: they are never read again. Arrays without their index, as a
    process leaves that is killed while it saves or drops a state, are passed over and removed.
    """
    messages: list[str] = []
    indexed = _numbers(folder, "json")
    for number in sorted(indexed | _numbers(folder, "safetensors"), reverse=True):
        if number >= before:
            continue
        if number not in indexed:
            tensors, index = _files(folder, number)
            messages.append(f"state {tensors} was not saved to its end (it has no {index.name}) and is passed over")
            continue
        try:
            state = _load(folder, number)
        except (OSError, ValueError, SafetensorError) as error:
            messages.append(f"state {_files(folder, number)[1]} is damaged and set aside: {error}")
            _set_aside(folder, number)
        else:
            if before == math.inf:
                _drop_old(folder, number)
            return state, messages
    return None, messages


def check_state(index: Path) -> None:
    """Refuse a state that is not as it was written.

    Args:
        index: its JSON file.

    Raises:
        OSError, ValueError, SafetensorError: what is wrong with it.
    """
    _load(index.parent, int(index.stem))


def _load(folder: Path, number: int) -> State:
    tensors, index = _files(folder, number)
    record = json_object(index.read_bytes())
    meta, content = record.get("meta"), tensors.read_bytes()
    if record.get("number") != number or not isinstance(meta, dict) or record.get("meta_sha256") != _hash(meta):
        raise ValueError(f"{index.name} does not match its hash")
    if record.get("sha256") != _sha256(content):
        raise ValueError(f"{tensors.name} does not match its hash")
    return State(number, {name: array.copy() for name, array in load(content).items()}, meta)


def _drop_old(folder: Path, newest: int) -> None:
    """Remove states before the last ``KEPT``, index first, and arrays whose index was never written."""
    kept = {*sorted(_numbers(folder, "json"))[-KEPT:], newest}
    with suppress(OSError):
        for suffix in ("json", "safetensors"):
            for number in _numbers(folder, suffix) - kept:
                (folder / f"{number:06d}.{suffix}").unlink()


def _set_aside(folder: Path, number: int) -> None:
    for path in _files(folder, number):
        with suppress(FileNotFoundError):
            os.replace(path, path.with_name(path.name + ".damaged"))


def _numbers(folder: Path, suffix: str) -> set[int]:
    matches = (re.fullmatch(rf"(\d{{6,}})\.{suffix}", path.name) for path in folder.glob(f"*.{suffix}"))
    return {int(match[1]) for match in matches if match}


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"{number:06d}.safetensors", folder / f"{number:06d}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hash(meta: Any) -> str:
    return _sha256(json.dumps(meta, sort_keys=True, separators=(",", ":")).encode())
