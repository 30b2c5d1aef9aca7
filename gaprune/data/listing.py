"""Which files an image folder holds, and of which classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gaprune.errors import DataError

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_FORMAT = 1


@dataclass(frozen=True)
class ImageFile:
    """One image file.

    Attributes:
        name: path relative to the folder, with forward slashes.
        part: ``train`` or ``test``.
        label: index of its class.
        size: bytes.
        modified: time of the last change, nanoseconds.
    """

    name: str
    part: str
    label: int
    size: int
    modified: int


def class_names(root: Path) -> tuple[str, ...]:
    """The sub-folders of ``train/``, in alphabetical order.

    Raises:
        DataError: the folder is missing, has no ``train/`` or fewer than two classes there, or has a class
            in ``test/`` that is not in ``train/``.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    if not (root / "train").is_dir():
        raise DataError(f"{root} has no folder train/: expected images as {root / 'train'}/<class>/*")
    classes = _folders(root / "train")
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no class folder"
        raise DataError(f"{root / 'train'} holds {found}: at least 2 sub-folders are needed, one a class")
    if (root / "test").is_dir() and (unknown := sorted(set(_folders(root / "test")) - set(classes))):
        raise DataError(f"class {unknown[0]!r} is in {root / 'test'} but not in {root / 'train'}")
    return classes


def list_files(root: Path, classes: tuple[str, ...]) -> list[ImageFile]:
    """The files of ``train/`` and ``test/`` with the suffix of an image, at any depth below their class.

    Raises:
        DataError: a part has none.
    """
    files = []
    for part in ("train", "test"):
        for label, name in enumerate(classes):
            for path in sorted((root / part / name).rglob("*")):
                if path.suffix.lower() in _SUFFIXES and path.name[0] != "." and path.is_file():
                    status = path.stat()
                    relative = path.relative_to(root).as_posix()
                    files.append(ImageFile(relative, part, label, status.st_size, status.st_mtime_ns))
        if (root / part).is_dir() and not any(file.part == part for file in files):
            raise DataError(f"{root / part} holds no image ({', '.join(sorted(_SUFFIXES))})")
    return files


def fingerprint(classes: tuple[str, ...], files: Sequence[ImageFile]) -> str:
    """SHA-256 over the name, size and time of change of every file."""
    listing = [[file.name, file.size, file.modified] for file in files]
    return hashlib.sha256(json.dumps([_FORMAT, classes, listing]).encode()).hexdigest()


def _folders(path: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."))
