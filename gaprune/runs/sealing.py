"""Checksums of a directory's files: what lies there is as it was written, or it is named.

``checksums.json`` lists SHA-256 hashes by file name, and its own. A file is replaced in three steps: the list allows
the old content and the new; the file is replaced; the list has the new one alone. Killed between any two of them, what
lies there is still allowed, so a kill is never taken for damage. Folders may be nested: a list names the lists below.

A directory without a list is of an earlier version, and is read as it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs.files import atomic_write, json_bytes
from gaprune.runs.inside import inside

CHECKSUMS = "checksums.json"
FORMAT = "gaprune-checksums-1"
ATTEMPTS, PAUSE = 50, 0.02
"""How often a file is looked at that somebody is replacing, and seconds in between."""

Digest = str | None
"""SHA-256 in hexadecimal; ``None`` where there is no file."""


@dataclass(frozen=True)
class Seal:
    """The checksums of a folder.

    Attributes:
        files: by name (``/`` separates folders), what may lie there: one digest, or several while it is replaced.
        log: lines of the log of evaluations that are on disk for good, and the checksum of the last of them.
        made_with: values of the manifest that a run keeps, so that what changed can be named.
    """

    files: dict[str, list[Digest]] = field(default_factory=dict)
    log: tuple[int, str] | None = None
    made_with: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the list. Raises ``OSError`` where it cannot be written; an old one stays."""
        atomic_write(folder / CHECKSUMS, self.content())

    def content(self) -> bytes:
        """The list as its file has it."""
        body = {"format": FORMAT, "files": self.files, "log": self.log, "made_with": self.made_with}
        return json_bytes({**body, "sha256": _own(body)})

    def allowing(self, name: str, *found: Digest) -> Seal:
        """The same with further contents of a file that are as good as those so far."""
        return replace(self, files={**self.files, name: list(dict.fromkeys([*self.files.get(name, []), *found]))})

    def settled(self, name: str, found: Digest) -> Seal:
        """The same with one content of a file alone."""
        return replace(self, files={**self.files, name: [found]})


def read_seal(folder: Path) -> Seal | None:
    """The checksums of a folder; ``None`` where it has none.

    Raises:
        RunError: the list is damaged.
    """
    try:
        content = (folder / CHECKSUMS).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"cannot read {folder / CHECKSUMS}: {error.strerror or error}") from error
    try:
        record = json.loads(content.decode())
        body = {name: record[name] for name in ("files", "log", "made_with")}
        if not all(inside(name) and _are_digests(found) for name, found in body["files"].items()):
            raise ValueError
        log = body["log"]
        found = Seal(body["files"], None if log is None else (log[0], log[1]), body["made_with"])
        if found.content() != content:  # format and hash of the list itself stand in it
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise altered(folder, CHECKSUMS) from error
    return found


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> Digest:
    """SHA-256 of a file, read piece by piece; ``None`` where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with _regular(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def altered(folder: Path, name: str, what: str = "is not as it was written") -> RunError:
    """The error for a file that is not what the folder's checksums say."""
    advice = f"put it back, or take it as it is with python -m gaprune.status {shlex.quote(str(folder))} --accept"
    return RunError(f"{folder / name} {what}: {advice}")


def read_file(folder: Path, name: str, more: Callable[[Seal, bytes], str] | None = None) -> bytes:
    """The content of a file, checked where the folder has a checksum of it.

    Nothing is locked: somebody may be replacing the file meanwhile.

    Args:
        folder: with the checksums.
        name: of the file, below it.
        more: what else to say of a file that is not as it was written, from the checksums and its content.

    Raises:
        FileNotFoundError: there is none, and there should be none.
        OSError: it cannot be read.
        RunError: it is not as it was written, or gone.
    """

    def read() -> tuple[bytes, Digest]:
        content = _regular(folder / name).read_bytes()
        return content, digest(content)

    return _checked(folder, name, read, more)


def check_file(folder: Path, name: str) -> None:
    """Refuse a file that is not as it was written, without keeping it in memory; see ``read_file``."""

    def read() -> tuple[bytes, Digest]:
        found = file_digest(folder / name)
        if found is None:
            raise FileNotFoundError(folder / name)
        return b"", found

    _checked(folder, name, read, None)


def _checked(
    folder: Path,
    name: str,
    read: Callable[[], tuple[bytes, Digest]],
    more: Callable[[Seal, bytes], str] | None,
) -> bytes:
    before = read_seal(folder)
    for _ in range(ATTEMPTS):
        content, found, missing = b"", None, None
        try:
            content, found = read()
        except (FileNotFoundError, NotADirectoryError) as error:
            missing = error
        known = None if before is None else before.files.get(name)
        if known is None or found in known:
            if missing is not None:
                raise missing
            return content
        now = read_seal(folder)
        if now == before:
            break
        before = now
        time.sleep(PAUSE)
    if missing is not None:
        raise altered(folder, name, "is gone")
    said = "" if more is None or before is None else more(before, content)
    raise altered(folder, name, f"is not as it was written{said}")


def write_file(
    folder: Path,
    name: str,
    content: bytes,
    *,
    log: tuple[int, str] | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Write a file, atomically, with its checksum where the folder has any. For the owner of the folder alone.

    Args:
        folder: with the checksums.
        name: of the file, below it.
        content: of the file.
        log: what ``Seal.log`` becomes.
        made_with: what ``Seal.made_with`` becomes.

    Raises:
        OSError: it cannot be written; the old one stays.
        RunError: the checksums are damaged.
    """
    seal = read_seal(folder)
    if seal is None:
        atomic_write(folder / name, content)
        return
    told = {} if made_with is None else {"made_with": json.loads(json.dumps(dict(made_with)))}
    seal = replace(seal, log=log or seal.log, **told)
    _replacing(folder, seal, {name: digest(content)}, lambda: atomic_write(folder / name, content))


def remove_file(folder: Path, name: str) -> None:
    """Remove a file, which need not be there; the checksums know that it is gone. Raises as ``write_file`` does."""
    replacing(folder, {name: None}, lambda: (folder / name).unlink(missing_ok=True))


def replacing(folder: Path, new: Mapping[str, Digest], change: Callable[[], object]) -> None:
    """Replace files by a change of the caller's own, such as that of a whole folder; meanwhile they may be missing.

    Args:
        folder: with the checksums.
        new: digests of the files afterwards, by name.
        change: what replaces them.

    Raises:
        RunError: the checksums are damaged.
    """
    seal = read_seal(folder)
    if seal is None:
        change()
        return
    _replacing(folder, seal, new, change)


def _replacing(folder: Path, seal: Seal, new: Mapping[str, Digest], change: Callable[[], object]) -> None:
    pending = settled = seal
    for name, found in new.items():
        so_far = [] if name in seal.files else [file_digest(folder / name)]
        missing = [None] if "/" in name else []
        pending = pending.allowing(name, *so_far, *missing, found)
        settled = settled.settled(name, found)
    pending.write(folder)
    change()
    with suppress(OSError):  # what was changed is there, and allowed
        settled.write(folder)


def settle(folder: Path) -> None:
    """Let the checksums know which of two contents a file has that was being replaced by a process that was killed.

    Raises:
        RunError: a file has neither, or the checksums are damaged or cannot be written.
    """
    seal = read_seal(folder)
    pending = [name for name, found in seal.files.items() if len(found) > 1] if seal is not None else []
    for name in pending:
        assert seal is not None
        with suppress(FileNotFoundError):
            check_file(folder, name)
        seal = seal.settled(name, file_digest(folder / name))
    if pending and seal is not None:
        try:
            seal.write(folder)
        except OSError as error:
            raise RunError(f"cannot write in {folder}: {error.strerror or error}") from error


def seal_folder(
    folder: Path,
    names: Iterable[str],
    log: tuple[int, str] | None = None,
    *,
    more: Mapping[str, str] | None = None,
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Write the checksums of a folder's files anew, as they lie there; for a folder that nobody sees yet.

    Args:
        folder: of the files.
        names: of those that are listed; one that is missing is left out.
        log: see ``Seal``.
        more: digests of files that will be written.
        made_with: see ``Seal``.

    Raises:
        OSError: they cannot be written.
    """
    found = {name: file_digest(folder / name) for name in sorted(names)} | dict(more or {})
    Seal({name: [one] for name, one in found.items() if one is not None}, log, dict(made_with or {})).write(folder)


def check_folder(folder: Path, *, but: Iterable[str] = ()) -> None:
    """Refuse a folder of which a listed file is not as it was written.

    Args:
        folder: with or without checksums.
        but: names of files that are not looked at.

    Raises:
        RunError: one line with the first such file.
        OSError: a file cannot be read.
    """
    seal = read_seal(folder)
    for name in () if seal is None else set(seal.files) - set(but):
        with suppress(FileNotFoundError):
            check_file(folder, name)


def _are_digests(found: object) -> bool:
    return isinstance(found, list) and all(one is None or isinstance(one, str) for one in found)


def _regular(path: Path) -> Path:
    """The path, unless it is of a device, a pipe or a folder, which would be read for ever or not at all."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def _own(body: Mapping[str, Any]) -> str:
    return digest(json.dumps(body, separators=(",", ":")).encode())
