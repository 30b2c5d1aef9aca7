"""Which image files there are, of which classes and parts: in folders, or as a CSV file lists them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from gaprune.errors import DataError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_FORMAT = 1

TRAIN, TEST, VALIDATION = "train", "test", "validation"

VALIDATION_NAMES = ("val", "validation", "valid")
"""What people call the part between training and test."""


@dataclass(frozen=True)
class ImageFile:
    """One image file.

    Attributes:
        name: path relative to the folder, with forward slashes.
        part: ``train``, ``test`` or ``validation``.
        label: index of its class.
        size: bytes.
        modified: time of the last change, nanoseconds.
    """

    name: str
    part: str
    label: int
    size: int
    modified: int

    @classmethod
    def at(cls, root: Path, path: Path, part: str, label: int) -> ImageFile:
        """The file at ``path``, which is below ``root``."""
        status = path.stat()
        return cls(path.relative_to(root).as_posix(), part, label, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Listing:
    """All files of a data set.

    Attributes:
        root: the folder that names are relative to.
        called: what the user gave: a folder or a CSV file.
        classes: names, in label order.
        files: training images first.
        places: where each part comes from, by part: the name of a folder, or of the part in the CSV file.
    """

    root: Path
    called: Path
    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    places: dict[str, str]

    def where(self, part: str) -> str:
        """Where a part lies, for messages."""
        if self.called != self.root:
            return f"{self.called} (part {self.places.get(part, part)})"
        return str(self.root / self.places.get(part, part))


def list_folder(root: Path) -> Listing:
    """The files of ``train/`` and what stands beside it.

    A folder ``test/`` reports, and one of ``val/``, ``validation/`` or ``valid/`` is what is chosen by; without
    ``test/`` the latter reports.

    Raises:
        DataError: the folder or a part has no images, fewer than two classes, or a class that is not in ``train/``.
    """
    places = _places(root)
    classes = _class_names(root, places)
    files: list[ImageFile] = []
    for part, name in places.items():
        found = _below(root, root / name, part, classes)
        if not found:
            raise DataError(f"{root / name} holds no image ({', '.join(sorted(SUFFIXES))})")
        files += found
    return Listing(root, root, classes, tuple(files), places)


def _places(root: Path) -> dict[str, str]:
    """By part the name of its folder; only what there is."""
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    if not (root / TRAIN).is_dir():
        raise DataError(f"{root} has no folder train/: expected images as {root / 'train'}/<class>/*")
    between = [name for name in VALIDATION_NAMES if (root / name).is_dir()]
    if len(between) > 1:
        raise DataError(f"{root} has both {between[0]}/ and {between[1]}/: keep one of them")
    found = {TRAIN: TRAIN}
    if (root / TEST).is_dir():
        found[TEST] = TEST
        if between:
            found[VALIDATION] = between[0]
    elif between:
        found[TEST] = between[0]
    return found


def _class_names(root: Path, places: dict[str, str]) -> tuple[str, ...]:
    """The sub-folders of ``train/``, in alphabetical order."""
    classes = _folders(root / TRAIN)
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no class folder"
        raise DataError(f"{root / TRAIN} holds {found}: at least 2 sub-folders are needed, one a class")
    for name in places.values():
        if unknown := sorted(set(_folders(root / name)) - set(classes)):
            raise DataError(f"class {unknown[0]!r} is in {root / name} but not in {root / TRAIN}")
    return classes


def _below(root: Path, folder: Path, part: str, classes: tuple[str, ...]) -> list[ImageFile]:
    """The files with the suffix of an image, at any depth below their class."""
    return [
        ImageFile.at(root, path, part, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()
    ]


def fingerprint(listing: Listing) -> str:
    """SHA-256 over the name, size and time of change of every file; of a CSV file's over class and part, too."""
    files = [[file.name, file.size, file.modified] for file in listing.files]
    said = [[file.label, file.part] for file in listing.files] if listing.called != listing.root else []
    whole = [_FORMAT, listing.classes, files, *([said] if said else [])]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _folders(path: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."))
