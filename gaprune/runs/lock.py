"""A directory has one owner at a time, and who comes second is told who it is."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gaprune.errors import RunError
from gaprune.runs.files import write_json
from gaprune.runs.reading import json_object

LOCK_NAME = ".lock"
HOLDER_NAME = ".lock.json"


class DirectoryLock:
    """Ownership of a directory by this process.

    The operating system holds the lock itself and releases it when the process ends, however it ends. A small
    JSON beside it only names the holder; a stale one of a killed process is overwritten.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = FileLock(directory / LOCK_NAME, thread_local=False)
        self._was_there = True

    def acquire(self) -> None:
        """Become the owner.

        Raises:
            RunError: another process is (named, with its host and since when), or the directory cannot be
                written.
        """
        self._was_there = (self._directory / LOCK_NAME).exists()
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise _in_use(self._directory) from None
        except NotImplementedError:  # of versions that have no file to stand for a lock
            raise RunError(f"cannot lock {self._directory}: its file system has no locks, choose another") from None
        except OSError as error:
            raise RunError(f"cannot lock {self._directory}: {error.strerror or error}") from error
        try:
            write_json(self._directory / HOLDER_NAME, _this_process())
        except OSError as error:
            self.withdraw()
            raise RunError(f"cannot write in {self._directory}: {error.strerror or error}") from error

    def release(self) -> None:
        """Give the directory up. Harmless when it is not owned."""
        if self._lock.is_locked:
            with suppress(OSError):  # read-only by now, or gone: it only names the holder
                (self._directory / HOLDER_NAME).unlink(missing_ok=True)
            self._lock.release()

    def withdraw(self) -> None:
        """Release, and leave no lock file behind if there was none before."""
        if self._lock.is_locked and not self._was_there:
            with suppress(OSError):
                (self._directory / LOCK_NAME).unlink(missing_ok=True)
        self.release()


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
    }


def _in_use(directory: Path) -> RunError:
    try:
        holder = json_object((directory / HOLDER_NAME).read_bytes())
        who = f"process {holder['pid']} on host {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return RunError(f"{directory} is in use by {who}: wait for it to end, or choose another directory")
