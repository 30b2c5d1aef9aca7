"""All that lies in a directory against its checksums: what differs is named, or taken as it is by whoever says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gaprune.errors import GapruneError, RunError
from gaprune.options import differences
from gaprune.runs import states
from gaprune.runs.directory import LOG_NAME, MADE_WITH, MANIFEST_NAME, STATE_NAME, made_with
from gaprune.runs.files import atomic_write
from gaprune.runs.inside import check_links
from gaprune.runs.lock import LOCK_NAME, DirectoryLock
from gaprune.runs.log import NO_LINE, EvaluationLog, signed, unsigned
from gaprune.runs.reading import json_object
from gaprune.runs.sealing import CHECKSUMS, altered, check_file, file_digest, read_seal, seal_folder

SUFFIXES = (".json", ".csv", ".safetensors", ".onnx")
"""Of files that get a checksum where their folder's checksums are lost."""
UNSEALED = (CHECKSUMS, "statistics.safetensors")
"""Files that bring their own."""
NESTED = ("rows/*.json", "*/config.json", f"*/{CHECKSUMS}")
"""Files below a folder that its checksums list."""


def differing(folder: Path) -> tuple[int, list[str]]:
    """How many files of a run, a comparison or a member were looked at, and a line for each that is not as written.

    Weights are read whole, so this takes as long as reading the directory.
    """
    count, lines = 0, []
    for place in _sealed(folder):
        try:
            seal = read_seal(place)
        except RunError as error:
            lines.append(str(error))
            continue
        if seal is None:
            lines.append(str(altered(place, CHECKSUMS, "is gone")))
            continue
        for name in seal.files:
            count += 1
            try:
                with suppress(FileNotFoundError):
                    check_file(place, name)
            except (GapruneError, OSError) as error:
                lines.append(str(error))
        for told in (*_log(place), *_states(place)):
            count, lines = count + 1, [*lines, *told]
    return count, lines


def accept(folder: Path) -> list[str]:
    """Take a directory as it lies there: its checksums are written anew.

    Returns:
        The files that were not as they were written.

    Raises:
        RunError: somebody is at it, a line of a log is no JSON object, or what a run was made with was changed, which
            is not for anybody to change.
    """
    check_links(folder)
    owned = (folder / MANIFEST_NAME).exists() or (folder / LOCK_NAME).exists()
    lock = DirectoryLock(folder)
    if owned:
        lock.acquire()
    try:
        return [str((place / name).relative_to(folder)) for place in _sealed(folder) for name in _accepted(place)]
    except OSError as error:
        raise RunError(f"cannot write in {folder}: {error.strerror or error}") from error
    finally:
        lock.release()


def _sealed(folder: Path) -> list[Path]:
    """The folders with checksums, or whose files say that there should be some, the deepest first."""
    found = {file.parent for file in folder.rglob(CHECKSUMS)}
    for name in (MANIFEST_NAME, "config.json", "steps.json"):
        for file in (folder / name, *folder.rglob(name)):
            with suppress(OSError, ValueError):
                if json_object(file.read_bytes()).get("checksums"):
                    found.add(file.parent)
    return sorted(found, key=lambda place: (-len(place.parts), str(place)))


def _log(place: Path) -> Iterator[list[str]]:
    """What is wrong with the log of a folder, where it has one."""
    if (place / MANIFEST_NAME).exists():
        try:
            EvaluationLog(place / LOG_NAME).load()
        except RunError as error:
            yield [str(error)]
        else:
            yield []


def _states(place: Path) -> Iterator[list[str]]:
    """What is wrong with each state of a folder."""
    for file in sorted((place / STATE_NAME).glob("*.json")):
        try:
            states.check_state(file)
        except (OSError, ValueError, SafetensorError) as error:
            yield [f"{file} is damaged: {error}"]
        else:
            yield []


def _accepted(place: Path) -> list[str]:
    """Write the checksums of a folder anew; the files that differed."""
    try:
        seal = read_seal(place)
    except RunError:
        seal = None
    names = _names(place) if seal is None else list(seal.files)
    before = {} if seal is None else seal.files
    now = {name: file_digest(place / name) for name in names}
    changed = [name for name, found in now.items() if found not in before.get(name, [])]
    kept = _made_with(place, None if seal is None else seal.made_with)
    log = _signed_again(place / LOG_NAME) if (place / MANIFEST_NAME).exists() else None
    if log is not None and (seal is None or seal.log != log):
        changed.append(LOG_NAME)
    seal_folder(place, names, log, made_with=kept)
    return changed if seal is not None else [CHECKSUMS, *changed]


def _names(place: Path) -> list[str]:
    files = [file.name for file in place.iterdir() if file.is_file() and not file.name.startswith(".")]
    own = [name for name in files if (name.isdecimal() or name.endswith(SUFFIXES)) and name not in UNSEALED]
    return sorted([*own, *(str(file.relative_to(place)) for form in NESTED for file in place.glob(form))])


def _made_with(place: Path, before: dict[str, Any] | None) -> dict[str, Any]:
    """What a run was made with, as its manifest says.

    Raises:
        RunError: it is not what it was.
    """
    file = place / MANIFEST_NAME
    if not file.exists():
        return {}
    try:
        now = made_with(json_object(file.read_bytes()))
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error
    apart = [] if not before else differences({name: before.get(name) for name in MADE_WITH}, now)
    if apart:
        raise RunError(f"{file} says otherwise than the run was made: {'; '.join(apart)}: put it back, or begin anew")
    return now


def _signed_again(file: Path) -> tuple[int, str]:
    """Give every line of a log its checksum; how many there are, and the last one's.

    Raises:
        RunError: a line is no JSON object.
    """
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0, NO_LINE
    made, last = [], NO_LINE
    for number, line in enumerate(lines, start=1):
        body, _ = unsigned(line)
        try:
            json_object(body)
        except ValueError as error:
            raise RunError(f"{file} is damaged at line {number} ({error}): remove the line first") from error
        again, last = signed(last, body)
        made.append(again + b"\n")
    if b"".join(made) != file.read_bytes():
        atomic_write(file, b"".join(made))
    return len(made), last
