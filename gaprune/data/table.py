"""A CSV file that lists images with their classes and parts."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gaprune.data.listing import SUFFIXES, TEST, TRAIN, VALIDATION, VALIDATION_NAMES, ImageFile, Listing
from gaprune.errors import DataError, first_line

SUFFIX = ".csv"

_COLUMNS = {
    "file": ("file", "path", "image", "filename", "file_name", "filepath", "image_path", "image_id"),
    "class": ("class", "label", "target", "category", "class_name"),
    "part": ("part", "split", "set", "subset"),
}
"""By what a column says the names that it may have, in any case."""

_PARTS = {TRAIN: TRAIN, "training": TRAIN, TEST: TEST, "testing": TEST, **dict.fromkeys(VALIDATION_NAMES, VALIDATION)}

Row = tuple[int, str, str, str]
"""Number of the line, file, class and part."""


def list_csv(path: Path) -> Listing:
    """The images of a CSV file with a header: columns for file and class, and perhaps one for the part.

    Files are relative to the CSV file's folder; classes are sorted by name, or by number where all are numbers. Without
    ``test`` rows those of ``val`` report.

    Raises:
        DataError: the file cannot be read, lacks a column or a part, a row names no image file below its folder, or a
            file is listed in two parts or classes. Twice in one is as if it had a copy.
    """
    root = path.parent
    rows = _rows(path)
    parts = {part for _, _, _, part in rows}
    if TRAIN not in parts:
        raise DataError(f"{path} lists no training image: its column part or split must say train for some")
    names = {part: part for part in parts}
    if VALIDATION in parts and TEST not in parts:
        names = {TRAIN: TRAIN, TEST: VALIDATION}
        rows = [(line, file, label, TEST if part == VALIDATION else part) for line, file, label, part in rows]
    classes = _sorted({label for _, _, label, part in rows if part == TRAIN})
    if len(classes) < 2:
        raise DataError(f"{path} lists training images of {len(classes)} class: at least 2 are needed")
    known = {name: number for number, name in enumerate(classes)}
    files = [_file(path, root, row, known) for row in rows]
    _check_once(path, rows, files)
    order = (TRAIN, TEST, VALIDATION)
    return Listing(root, path, classes, tuple(sorted(files, key=lambda file: order.index(file.part))), names)


def _rows(path: Path) -> list[Row]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = _columns(path, reader.fieldnames or ())
            name, label, part = (columns[what] for what in _COLUMNS)
            rows = [(reader.line_num, _cell(row, name), _cell(row, label), _cell(row, part)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {first_line(error)}") from error
    if not rows:
        raise DataError(f"{path} lists no image")
    return [(line, place, label, _part(path, line, part)) for line, place, label, part in rows]


def _columns(path: Path, header: Sequence[str]) -> dict[str, str | None]:
    """By what it says the name of a column."""
    lower = {name.strip().lower(): name for name in header}
    found = {what: next((lower[name] for name in names if name in lower), None) for what, names in _COLUMNS.items()}
    for what in ("file", "class"):
        if found[what] is None:
            names = ", ".join(_COLUMNS[what])
            raise DataError(f"{path} has no column for the {what}: its header must have one of {names}")
    return found


def _cell(row: dict[str, str], column: str | None) -> str:
    return "" if column is None else (row.get(column) or "").strip()


def _part(path: Path, line: int, name: str) -> str:
    part = _PARTS.get(name.lower() or TRAIN)
    if part is None:
        raise DataError(f"{path} line {line}: part {name!r} is none of {', '.join(_PARTS)}")
    return part


def _file(path: Path, root: Path, row: Row, known: dict[str, int]) -> ImageFile:
    line, name, label, part = row
    place = Path(os.path.normpath(root / name))
    if not name or place.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} line {line}: {name!r} is no name of an image ({', '.join(sorted(SUFFIXES))})")
    if not place.is_relative_to(os.path.normpath(root)):
        raise DataError(f"{path} line {line}: {name} lies outside {root}: put the CSV file above all images")
    if not place.is_file():
        raise DataError(f"{path} line {line}: no such file: {place}")
    if label not in known:
        raise DataError(f"{path} line {line}: class {label!r} has no training image")
    return ImageFile.at(Path(os.path.normpath(root)), place, part, known[label])


def _check_once(path: Path, rows: Sequence[Row], files: Sequence[ImageFile]) -> None:
    """Refuse an image of two parts, which would report on what was trained with, or of two classes."""
    first: dict[str, tuple[int, ImageFile]] = {}
    for (line, *_), file in zip(rows, files, strict=True):
        before, other = first.setdefault(file.name, (line, file))
        if (file.part, file.label) != (other.part, other.label):
            what = "part" if file.part != other.part else "class"
            raise DataError(f"{path} line {line}: {file.name} is listed in line {before} with another {what}")


def _sorted(labels: Iterable[str]) -> tuple[str, ...]:
    """By number where all are whole numbers, else by name."""
    found = sorted(labels)
    return tuple(sorted(found, key=int) if all(name.isdecimal() for name in found) else found)
