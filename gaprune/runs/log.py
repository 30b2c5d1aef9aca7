"""The log of evaluations: one JSON line each, with a checksum, on disk before the next begins."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs.files import sync_folder
from gaprune.runs.reading import json_object
from gaprune.runs.sealing import altered, read_seal

SUM = "sum"
"""The last entry of a line: its checksum."""
NO_LINE = "0" * 16
"""What stands for the checksum of the line before the first."""

_SIGNED = re.compile(rb'(\{(?:.*(?=, "sum))?)(?:, )?"sum": "([0-9a-f]{16})"\}', re.DOTALL)


class EvaluationLog:
    """An append-only file of JSON objects, one a line, that survives being killed at any moment.

    A last line that a crash has torn is left out by ``load`` and cut off by the first ``append``. Reading
    takes no ownership; appending is for the owner of the run directory.
    """

    def __init__(self, path: Path, *, sync_every: int = 1) -> None:
        """Every ``sync_every`` lines they are forced to the disk; ``close`` forces the rest."""
        self.path = path
        self._sync_every = sync_every
        self._unsynced = 0
        self._size = self._count = 0
        self._last = NO_LINE
        self._file: FileIO | None = None

    def load(self) -> list[dict[str, Any]]:
        """All whole records, oldest first; none when there is no file yet.

        Raises:
            RunError: a line is not as it was written (its number is named), or the file cannot be read.
        """
        return self._read()[0]

    @property
    def written(self) -> tuple[int, str] | None:
        """Lines that are on disk, and the checksum of the last; ``None`` before the first ``append``."""
        return None if self._file is None or self._unsynced else (self._count, self._last)

    def whole(self) -> tuple[int, str]:
        """The whole lines of the log as it is, and the checksum of the last. Raises as ``load`` does."""
        records, _, last = self._read()
        return len(records), last

    def lost_end(self) -> int:
        """How many lines of the end are gone that were on disk for good, where some before are left, and whole.

        The checksums know that they are gone from now on: ``load`` takes what is left. A log of which nothing is left
        is damaged, and said so by ``load``.

        Raises:
            RunError: a line before is not as it was written, or the file cannot be read.
            OSError: the checksums cannot be written.
        """
        seal = read_seal(self.path.parent)
        if seal is None or seal.log is None:
            return 0
        records, _, last = self._read(short=True)
        lost = max(seal.log[0] - len(records), 0) if records else 0
        if lost:
            replace(seal, log=(len(records), last)).write(self.path.parent)
        return lost

    def append(self, record: dict[str, Any]) -> None:
        """Write one record.

        Raises:
            RunError: the disk is full or the file cannot be written; the records before stay whole.
            ValueError: the record holds NaN or an infinity.
        """
        body = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
        try:
            self._write(body)
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Force what is written to the disk, and close. The next ``append`` opens the file again.

        Raises:
            RunError: the disk does not take it.
        """
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with file:
                os.fsync(file.fileno())
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> RunError:
        return RunError(f"cannot write {self.path}: {error.strerror or error}")

    def _write(self, body: bytes) -> None:
        file = self._file = self._file or self._open()
        line, last = signed(self._last, body)
        line += b"\n"
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
            self._unsynced += 1
            if self._unsynced >= self._sync_every:
                os.fsync(file.fileno())
                self._unsynced = 0
        except OSError:
            file.truncate(self._size)
            raise
        self._size += len(line)
        self._count, self._last = self._count + 1, last

    def _open(self) -> FileIO:
        records, self._size, self._last = self._read()
        self._count = len(records)
        file = FileIO(self.path, "ab")
        file.truncate(self._size)
        sync_folder(self.path.parent)
        return file

    def _read(self, *, short: bool = False) -> tuple[list[dict[str, Any]], int, str]:
        """The whole records, how many bytes they take, and the checksum of the last; ``short``: the end may be gone."""
        seal = read_seal(self.path.parent)
        known, wanted = (0, NO_LINE) if seal is None or seal.log is None else seal.log
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = [b""]
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error
        records: list[dict[str, Any]] = []
        size, last, signed = 0, NO_LINE, seal is not None and known == 0
        for number, line in enumerate(lines[:-1], start=1):
            body, found = unsigned(line)
            record = _parsed(body)
            if record is None or (signed and found is None):
                if number == len(lines) - 1 and not lines[-1] and (short or number > known):
                    break  # torn
                raise self._altered(f"is damaged at line {number}: {_excerpt(line)}")
            if found not in (None, line_sum(last, body)):
                raise self._altered(f"is not as it was written at line {number}")
            last, signed = found or line_sum(last, body), signed or found is not None or number == known
            if number == known and last != wanted:
                raise self._altered(f"is not as it was written before line {number + 1}")
            records.append(record)
            size += len(line) + 1
        if len(records) < known and not short:
            raise self._altered(f"ends after line {len(records)}, and {known} were written")
        return records, size, last

    def _altered(self, what: str) -> RunError:
        return altered(self.path.parent, self.path.name, what)


def line_sum(before: str, body: bytes) -> str:
    """The checksum of a line: of what it says and of the line before, so that none can be changed, lost or moved.

    Args:
        before: the checksum of the line before, ``NO_LINE`` for the first.
        body: the JSON object.
    """
    return hashlib.sha256(before.encode() + body).hexdigest()[: len(NO_LINE)]


def signed(before: str, body: bytes) -> tuple[bytes, str]:
    """A line with its checksum as the last entry, and the checksum."""
    found = line_sum(before, body)
    comma = b"" if body == b"{}" else b", "
    return body[:-1] + comma + f'"{SUM}": "{found}"}}'.encode(), found


def unsigned(line: bytes) -> tuple[bytes, str | None]:
    """What a line says, and its checksum; ``None`` where it has none, as those of earlier versions."""
    match = _SIGNED.fullmatch(line)
    return (line, None) if match is None else (match[1] + b"}", match[2].decode())


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        return json_object(line)
    except ValueError:
        return None


def _excerpt(line: bytes) -> str:
    return f"expected a JSON object with its checksum, found {line[:40].decode(errors='replace')!r}"
