"""The directory of one search: what it was asked, what it has measured, and where it stands."""

from __future__ import annotations

import copy
import json
import logging
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from gaprune.errors import RunError
from gaprune.options import differences
from gaprune.runs import states
from gaprune.runs.files import json_bytes, put_back, remove_temporary_files
from gaprune.runs.front import CSV, FRONT
from gaprune.runs.inside import check_links
from gaprune.runs.lock import HOLDER_NAME, LOCK_NAME, DirectoryLock
from gaprune.runs.log import EvaluationLog
from gaprune.runs.reading import read_json_object
from gaprune.runs.sealing import (
    CHECKSUMS,
    Seal,
    altered,
    check_folder,
    digest,
    read_seal,
    seal_folder,
    settle,
    write_file,
)
from gaprune.runs.shape import misshapen_manifest

_log = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
LOG_NAME = "evaluations.jsonl"
STATE_NAME = "state"
WEIGHTS_NAME = "model.safetensors"
"""Of a member's folder: the tensors of its network."""
PARTS = {"round": "a round", "iteration": "an iteration"}
"""What marks a manifest as that of a part of a run, and begins the name of its directory; each in words."""
SECONDS = "wall_seconds"
"""Of the manifest: wall time of the work in this directory, added up over all sessions."""
STAGES = "stage_seconds"
"""Of the manifest: what the stages of a search have taken, by name."""

SEALED = "checksums"
"""Of the manifest: whether there are checksums, which are missed then if they are gone."""
MADE_WITH = ("options", "objects", "objectives", "identity")
"""Of the manifest: what nothing but the run itself changes."""
ALSO_SEALED = (CSV, "ladder.csv")
"""Files of a run of an earlier version that get a checksum when it is gone on with."""

_LEFTOVER = re.compile(rf"\.({'|'.join(map(re.escape, (MANIFEST_NAME, HOLDER_NAME, CHECKSUMS)))})\.\d+\.tmp")
"""What a process leaves that is killed while it starts a run."""


class RunDirectory:
    """A run directory that this process owns until it is closed. Made by ``create`` or ``open``.

    Attributes:
        path: the directory.
        log: the evaluations so far, and where new ones go.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: DirectoryLock) -> None:
        self.path = path
        self.log = EvaluationLog(path / LOG_NAME)
        self._manifest = manifest
        self._lock = lock
        self._counted_to = -math.inf

    @classmethod
    def create(cls, path: Path, manifest: dict[str, Any]) -> RunDirectory:
        """Start a run in a new or empty directory; missing parents are made.

        Raises:
            RunError: the directory is in use, not empty, or cannot be written. Nothing is left behind.
        """
        made = _make_folders(path)
        try:
            lock = _start(path, manifest)
        except BaseException:
            _unmake_folders(made)
            raise
        return cls(path, copy.deepcopy(manifest), lock)

    @classmethod
    def open(cls, path: Path, *, searching: bool = False) -> RunDirectory:
        """Own an existing run, to go on with it.

        Args:
            path: of the run.
            searching: whether evaluations are done again whose lines the end of the log has lost; a warning says so.

        Raises:
            RunError: it is not a run directory, its manifest is damaged, a link leads out of it, or it is in use.
        """
        read_manifest(path)
        check_links(path)
        lock = DirectoryLock(path)
        lock.acquire()
        try:
            manifest, sealed = _read(path)
            remove_temporary_files(path)
            remove_temporary_files(path / STATE_NAME)
            put_back(path / FRONT)  # before the checksums settle for what is there
            settle(path)
            check_folder(path)
            run = cls(path, manifest, lock)
            if searching:
                run._check_end()
            run.log.load()
            if not sealed:
                run._seal()
        except BaseException:
            lock.release()
            raise
        return run

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run was made with: a copy; ``update_manifest`` changes it."""
        return copy.deepcopy(self._manifest)

    def update_manifest(self, **values: Any) -> None:
        """Set some top-level values of the manifest.

        Raises:
            RunError: it cannot be written; the old one stays.
        """
        manifest = {**self._manifest, **values}
        _write_manifest(self.path, manifest, self.log.written)
        self._manifest = copy.deepcopy(manifest)

    def note_seconds(self, since: float, **values: Any) -> None:
        """Add to the manifest's wall time what has passed by now; set other top-level values with it.

        What a process that is killed has spent since it last did this is lost. Runs of versions that kept no wall time
        get none, rather than that of their last sessions alone.

        Args:
            since: reading of ``time.perf_counter`` when this process began the work; what it noted before counts once.
            **values: as ``update_manifest`` takes them.

        Raises:
            RunError: the manifest cannot be written; the old one stays.
        """
        now = time.perf_counter()
        if SECONDS in self._manifest:
            values[SECONDS] = round(self._manifest[SECONDS] + now - max(since, self._counted_to), 3)
        self.update_manifest(**values)
        self._counted_to = now

    def note_stage(self, name: str, since: float) -> None:
        """Add to the manifest what a stage of the work has taken, over all sessions that come to the stage's end.

        Args:
            name: of the stage, in words.
            since: reading of ``time.perf_counter`` when this process began it.

        Raises:
            RunError: the manifest cannot be written; the old one stays.
        """
        stages = dict(self._manifest.get(STAGES, {}))
        stages[name] = round(stages.get(name, 0.0) + time.perf_counter() - since, 3)
        self.update_manifest(**{STAGES: stages})

    def save_state(self, number: int, arrays: Mapping[str, NDArray[Any]], meta: dict[str, Any]) -> None:
        """Save where the search stands after generation ``number``; the last three states are kept.

        Raises:
            RunError: it cannot be written; the states before stay.
        """
        try:
            states.save_state(self.path / STATE_NAME, number, arrays, meta)
        except OSError as error:
            raise _cannot_write(self.path / STATE_NAME, error) from error

    def latest_state(self, before: float = math.inf) -> tuple[int, dict[str, NDArray[Any]], dict[str, Any]] | None:
        """Number, arrays and meta of the newest whole state before a number; None when there is none.

        Damaged ones are set aside, each with a logged warning that names it.
        """
        state, messages = states.latest_state(self.path / STATE_NAME, before)
        for message in messages:
            _log.warning(message)
        return None if state is None else (state.number, state.arrays, state.meta)

    def _check_end(self) -> None:
        try:
            lost = self.log.lost_end()
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if lost:
            _log.warning("%s has lost its last %d lines: what rests on them is done again", self.log.path, lost)

    def _seal(self) -> None:
        """Give the directory of an earlier version checksums of what lies there."""
        if read_seal(self.path) is None:
            try:
                names = (MANIFEST_NAME, *ALSO_SEALED)
                seal_folder(self.path, names, self.log.whole(), made_with=made_with(self._manifest))
            except OSError as error:
                raise _cannot_write(self.path, error) from error
        self.update_manifest()

    def close(self) -> None:
        """Give the directory up. Harmless when done twice."""
        try:
            self.log.close()
        finally:
            self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def check_free(path: Path) -> None:
    """Refuse early what ``RunDirectory.create`` would refuse: a path that is in use or not empty.

    Raises:
        RunError: one line that says what is in the way.
    """
    if not path.exists():
        return
    lock = DirectoryLock(path)
    if (path / LOCK_NAME).exists():
        lock.acquire()
        lock.release()
    _check_empty(path)


def read_manifest(path: Path, *, shaped: bool = True) -> dict[str, Any]:
    """The manifest of a run, without owning it.

    Args:
        path: of the run.
        shaped: whether what it says must be of the kinds that are read; else it is taken as it is.

    Raises:
        RunError: ``path`` is not a run directory, or its manifest is damaged.
    """
    manifest = _read(path)[0]
    told = misshapen_manifest(manifest) if shaped else None
    if told is not None:
        raise RunError(f"{path / MANIFEST_NAME} is damaged: {told}")
    return manifest


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    """The manifest of a run, and whether the run has checksums."""
    file = path / MANIFEST_NAME
    try:
        manifest = read_json_object(file, _changed)
    except (FileNotFoundError, NotADirectoryError):
        reason = f"it has no {MANIFEST_NAME}" if path.is_dir() else "there is no such directory"
        raise RunError(f"{path} is not a run directory: {reason}") from None
    except OSError as error:
        raise RunError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{file} is damaged: {error}") from error
    sealed = manifest.pop(SEALED, False) is not False
    if sealed and read_seal(path) is None:
        raise altered(path, CHECKSUMS, "is gone")
    return manifest, sealed


def _changed(seal: Seal, content: bytes) -> str:
    """Which of the things that a run was made with a manifest says differently, in words."""
    try:
        found = json.loads(content.decode())
        apart = differences(seal.made_with, {name: found.get(name) for name in seal.made_with})
    except (ValueError, AttributeError, RecursionError):
        return ""
    return f" ({'; '.join(apart)})" if apart else ""


def default_run_path(root: Path, model: str, data: str) -> Path:
    """A path under ``root`` that does not exist yet, such as ``runs/vgg16-cifar10-20261121-184000``."""
    words = [re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") for word in (model, data)]
    name = "-".join([*filter(None, words), datetime.now().strftime("%Y%m%d-%H%M%S")])
    path, number = root / name, 1
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path


def _start(path: Path, manifest: dict[str, Any]) -> DirectoryLock:
    """Lock an empty directory and write the manifest. A directory that is not ours is not even locked."""
    if not (path / LOCK_NAME).exists():
        _check_empty(path)
    lock = DirectoryLock(path)
    lock.acquire()
    try:
        _check_empty(path)
        remove_temporary_files(path)
        _begin(path, manifest)
    except BaseException:
        lock.withdraw()
        raise
    return lock


def _begin(path: Path, manifest: dict[str, Any]) -> None:
    """Write the first manifest; the checksums come first, so that it never lacks them."""
    try:
        Seal({MANIFEST_NAME: [None, digest(_content(manifest))]}, made_with=made_with(manifest)).write(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        _write_manifest(path, manifest)
    except BaseException:
        (path / CHECKSUMS).unlink(missing_ok=True)
        raise


def _write_manifest(path: Path, manifest: dict[str, Any], log: tuple[int, str] | None = None) -> None:
    try:
        write_file(path, MANIFEST_NAME, _content(manifest), log=log, made_with=made_with(manifest))
    except OSError as error:
        raise _cannot_write(path, error) from error


def _content(manifest: dict[str, Any]) -> bytes:
    return json_bytes({**manifest, SEALED: True})


def made_with(manifest: dict[str, Any]) -> dict[str, Any]:
    """What nothing but the run itself changes in its manifest."""
    return {name: manifest[name] for name in MADE_WITH if name in manifest}


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write in {path}: {error.strerror or error}")


def _check_empty(path: Path) -> None:
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if MANIFEST_NAME in names:
        advice = f"continue it with --resume {path}, or choose another directory"
        raise RunError(f"{path} already holds a run: {advice}")
    ours = (LOCK_NAME, HOLDER_NAME, CHECKSUMS)
    foreign = [name for name in names if name not in ours and not _LEFTOVER.fullmatch(name)]
    if foreign:
        raise RunError(f"{path} is not empty (it has {foreign[0]}): choose a new or empty directory")


def _make_folders(path: Path) -> list[Path]:
    """Make a directory and its missing parents; those that were made, deepest first."""
    missing: list[Path] = []
    try:
        missing += [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise RunError(f"cannot make the directory {path}: there is a file of that name") from None
    except OSError as error:
        _unmake_folders(missing)
        raise RunError(f"cannot make the directory {path}: {error.strerror or error}") from error
    return missing


def _unmake_folders(made: list[Path]) -> None:
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
