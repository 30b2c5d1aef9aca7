"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file stays, nothing else does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut (where the system can)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders, and needs no sync of them
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(folder: Path) -> None:
    """Remove what ``atomic_write`` left behind when its process was killed."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def json_bytes(value: Any) -> bytes:
    """``value`` as readable JSON; all in ASCII where it holds a name that is not UTF-8.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON has no word for.
    """
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically. Raises as ``json_bytes`` and ``atomic_write`` do."""
    atomic_write(path, json_bytes(value))


def take_place(new: Path, place: Path) -> None:
    """Rename a folder to ``place``; what was there stays, under another name, until that is done."""
    put_back(place)
    aside = _aside(place)
    if place.exists():
        place.rename(aside)
    new.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(place: Path) -> None:
    """Finish what a process left that was stopped in ``take_place``: the old folder returns where there is no new."""
    aside = _aside(place)
    if aside.exists() and not place.exists():
        aside.rename(place)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(place: Path) -> Path:
    return place.with_name(f"{place.name}.old")
