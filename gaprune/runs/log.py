"""The log of evaluations: one JSON line each, on disk before the next begins."""

from __future__ import annotations

import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs.files import sync_folder


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
        self._size = 0
        self._file: FileIO | None = None

    def load(self) -> list[dict[str, Any]]:
        """All whole records, oldest first; none when there is no file yet.

        Raises:
            RunError: a line before the last is damaged (its number is named), or the file cannot be read.
        """
        return self._read()[0]

    def append(self, record: dict[str, Any]) -> None:
        """Write one record.

        Raises:
            RunError: the disk is full or the file cannot be written; the records before stay whole.
            ValueError: the record holds NaN or an infinity.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            self._write(line)
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

    def _write(self, line: bytes) -> None:
        file = self._file = self._file or self._open()
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

    def _open(self) -> FileIO:
        _, self._size = self._read()
        file = FileIO(self.path, "ab")
        file.truncate(self._size)
        sync_folder(self.path.parent)
        return file

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The whole records, and how many bytes they take."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror or error}") from error
        records: list[dict[str, Any]] = []
        size = 0
        for number, line in enumerate(lines[:-1], start=1):
            record = _parsed(line)
            if record is None:
                if number == len(lines) - 1 and not lines[-1]:
                    break
                raise RunError(f"{self.path} is damaged at line {number}: {_excerpt(line)}")
            records.append(record)
            size += len(line) + 1
        return records, size


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line.decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _excerpt(line: bytes) -> str:
    return f"expected a JSON object, found {line[:40].decode(errors='replace')!r}"
