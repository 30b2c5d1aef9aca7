"""Searches in processes of their own that die, are stopped, or find the disk full, at a chosen point."""

from __future__ import annotations

import fnmatch
import importlib
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

import forked

POPULATION, GENERATIONS = 5, 4
"""Of the search that these tests disturb."""

OLD = 2
"""Generations after which one has been finished before."""


@dataclass(frozen=True)
class Stop:
    """A signal that a process sends itself.

    Attributes:
        moment: ``before`` or ``after`` the call; of a ``write`` also ``half``, when half of the bytes are on disk.
        call: ``write`` (to a log), or where a function is found: ``os.replace``.
        path: pattern of the path that the call changes, the last of its arguments.
        nth: of such calls.
        sign: the signal.
    """

    moment: str
    call: str
    path: str = "*"
    nth: int = 1
    sign: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.moment} {self.call} {self.path} {self.nth}"

    def install(self) -> None:
        """Let this process come upon it."""
        if self.call == "write":
            _replace_log_file(self._write)
            return
        place, name = self.call.rsplit(".", 1)
        module = importlib.import_module(place)
        real: Callable[..., Any] = getattr(module, name)
        counted = _Counter(self.path, self.nth)

        def patched(*arguments: Any, **options: Any) -> Any:
            due = counted(arguments[-1])
            self._signal(due and self.moment == "before")
            result = real(*arguments, **options)
            self._signal(due and self.moment == "after")
            return result

        setattr(module, name, patched)

    def _write(self) -> Callable[[FileIO, bytes, Callable[[bytes], int]], int]:
        counted = _Counter(self.path, self.nth)

        def write(file: FileIO, content: bytes, real: Callable[[bytes], int]) -> int:
            due = counted(file.name)
            if due and self.moment == "half":
                real(content[: len(content) // 2])
            self._signal(due and self.moment != "after")
            written = real(content)
            self._signal(due)
            return written

        return write

    def _signal(self, due: bool) -> None:
        if due:
            os.kill(os.getpid(), self.sign)


@dataclass(frozen=True)
class Full:
    """Half of a file can be written, and then no more: by a limit on its size, which is the system's own error.

    Attributes:
        path: pattern of the file's path.
        nth: of the times that such a file is written.
    """

    path: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.path} {self.nth}"

    def install(self) -> None:
        """Let this process come upon it."""
        if self.path.endswith(".jsonl"):
            _replace_log_file(self._write)
            return
        counted, real = _Counter(self.path, self.nth), Path.open

        @contextmanager
        def limited(file: Any) -> Iterator[Any]:
            with file, _limit(50):
                yield file
                file.flush()

        def patched(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = real(path, mode, *arguments, **options)
            return limited(file) if "w" in mode and counted(path) else file

        Path.open = patched  # type: ignore[method-assign, assignment]

    def _write(self) -> Callable[[FileIO, bytes, Callable[[bytes], int]], int]:
        counted = _Counter(self.path, self.nth)

        def write(file: FileIO, content: bytes, real: Callable[[bytes], int]) -> int:
            if not counted(file.name):
                return real(content)
            with _limit(os.fstat(file.fileno()).st_size + len(content) // 2):
                return real(content) + real(content)  # the first is cut short, the second fails

        return write


class _Counter:
    """Whether a call is the one: the ``nth`` about a path that matches."""

    def __init__(self, path: str, nth: int) -> None:
        self._path = path
        self._left = nth

    def __call__(self, path: object) -> bool:
        matches = self._path == "*" or fnmatch.fnmatch(str(path), self._path)
        self._left -= matches
        return matches and self._left == 0


def _replace_log_file(make: Callable[[], Callable[[FileIO, bytes, Callable[[bytes], int]], int]]) -> None:
    """Let logs be written by a function that is given the file, the bytes, and how to write them."""
    import gaprune.runs.log

    write_line = make()

    class Watched(FileIO):
        def write(self, content: Any) -> int:
            return write_line(self, bytes(content), super().write)

    gaprune.runs.log.FileIO = Watched  # type: ignore[attr-defined, misc]


@contextmanager
def _limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Fault(Protocol):
    """Something that a process comes upon."""

    def install(self) -> None:
        """Let this process come upon it."""
        ...


def start(
    argv: Sequence[str], output: Path, fault: Fault | None = None, errors: Path | None = None
) -> ForkServerProcess:
    """Start ``python -m gaprune.search`` with these arguments, or ``gaprune`` where they begin with a command.

    All it says is appended to ``output``, but for what is wrong where ``errors`` are to go elsewhere.
    """
    return forked.start(_search, list(argv), output, fault, errors or output)


def status(process: ForkServerProcess) -> int:
    """The exit status when it has ended, negative where a signal has ended it."""
    return forked.status(process)


def search(argv: Sequence[str], output: Path, fault: Fault | None = None, errors: Path | None = None) -> int:
    """``start`` and ``status``."""
    return status(start(argv, output, fault, errors))


def _search(argv: list[str], output: Path, fault: Fault | None, errors: Path) -> int:
    import gaprune.__main__
    from gaprune.commands.search import main

    forked.say_into(output, errors)
    if fault is not None:
        fault.install()
    return main(argv) if argv[0].startswith("--") else gaprune.__main__.main(argv)


def evaluations(path: Path) -> list[dict[str, Any]]:
    """The log of a run without the seconds, and the checksums that tell of them."""
    lines = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "sum"} | {"seconds": 0} for line in lines]


def left_by(path: Path) -> dict[str, Any]:
    """All that a run has left in its directory, but for times, places and statistics: by name the content."""
    found: dict[str, Any] = {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }
    found["evaluations.jsonl"] = evaluations(path)
    manifest = json.loads(found["manifest.json"])
    del manifest["environment"]["date"], manifest["options"]["output"], manifest["wall_seconds"]
    manifest.pop("stage_seconds", None)
    found["manifest.json"] = manifest
    found["statistics.safetensors"] = None  # the order of its header's entries is left to chance
    found["checksums.json"] = None  # of times, too
    if "report.html" in found:
        found["report.html"] = None  # tells times and places
    return found
