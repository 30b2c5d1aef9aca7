"""Results in files of at most 15 MiB, which another machine can be asked for; joined again and checked by hash.

``pack`` writes a folder as pieces beside an index; a piece or an index is whole or not there. ``join`` reads them.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs.files import atomic_write, write_json
from gaprune.runs.reading import read_json_object

PIECE = 15 * 2**20
"""Bytes of a piece at most."""

MOST = 60 * 2**20
"""Bytes of all pieces at most; the largest files stay behind where there are more."""

INDEX = "index.json"


def pack(folder: Path, out: Path, *, piece: int = PIECE, most: int = MOST) -> list[str]:
    """Write the files of ``folder`` as pieces into ``out``, in place of those of an earlier call.

    Args:
        folder: what is packed, with the folders in it.
        out: where pieces and index go; made where missing.
        piece: bytes of a piece at most.
        most: bytes of all pieces at most.

    Returns:
        The files that were too large and stayed behind, relative to ``folder``.
    """
    out.mkdir(parents=True, exist_ok=True)
    before = _index(out)
    number = before["number"] + 1 if before else 0
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    sizes = {file: file.stat().st_size for file in files}
    left = []
    while files and sum(sizes[file] + 2_048 for file in files) > most:
        left.append(files.pop())
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for file in sorted(files):
            tar.add(file, arcname=file.relative_to(folder).as_posix())
    whole = content.getvalue()
    pieces = {f"part-{number:03d}-{at // piece:02d}": whole[at : at + piece] for at in range(0, len(whole), piece)}
    for name, data in pieces.items():
        atomic_write(out / name, data)
    names = [file.relative_to(folder).as_posix() for file in left]
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in pieces.items()}
    write_json(out / INDEX, {"number": number, "pieces": hashes, "left_behind": names})
    for old in out.glob("part-*"):
        if old.name not in pieces:
            old.unlink()
    return names


def join(out: Path, folder: Path) -> list[str]:
    """Unpack the pieces in ``out`` into ``folder``.

    Returns:
        The files, relative to ``folder``.

    Raises:
        RunError: there is no index, or a piece is missing or was changed.
    """
    index = _index(out)
    if index is None:
        raise RunError(f"{out} has no {INDEX}: it holds no packed results")
    whole = b""
    for name, wanted in index["pieces"].items():
        try:
            data = (out / name).read_bytes()
        except OSError as error:
            raise RunError(f"{out / name} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != wanted:
            raise RunError(f"{out / name} is damaged: its hash is not the index's")
        whole += data
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        tar.extractall(folder, filter="data")
        return tar.getnames()


def _index(out: Path) -> dict[str, Any] | None:
    file = out / INDEX
    if not file.exists():
        return None
    try:
        return read_json_object(file)
    except (OSError, json.JSONDecodeError, ValueError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
