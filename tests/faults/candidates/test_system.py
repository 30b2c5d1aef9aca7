"""What screens, disks and signals do to a search: each really done, one line, the right status."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from killing import Stop, left_by
from subject import Subject

from gaprune.options import out_of_memory
from gaprune.runs import read_manifest

TESTS = Path(__file__).parents[2]
NAMED_AGAIN = "--model tiny_factory:small_residual --objectives accuracy,faulty:FLOPS"
FIRST_STATE = ("before", "os.replace", "*/state/000001.json")


def check_goes_on(subject: Subject, run: Path) -> None:
    """Resumed, it leaves what an undisturbed search leaves."""
    status, said = subject.resume(run)
    assert status == 0, said
    assert left_by(run) == left_by(subject.whole)


def last_line(said: str) -> str:
    assert "Traceback" not in said
    return said.splitlines()[-1]


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 129), ("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_is_one_line_and_its_status(subject: Subject, name: str, status: int) -> None:
    run = subject.place / "run"
    found, said = subject.search("--output", str(run), fault=Stop(*FIRST_STATE, sign=signal.Signals[name]))
    assert found == status, said
    assert last_line(said).endswith(
        f"nothing is lost, go on with: python -m gaprune.search --resume {run} {NAMED_AGAIN}"
    )
    check_goes_on(subject, run)


@dataclass(frozen=True)
class Twice:
    """Ctrl-C, and again so many seconds later."""

    seconds: float

    def install(self) -> None:
        real = os.replace

        def replace(source: Any, target: Any, **options: Any) -> None:
            if str(target).endswith("state/000001.json"):
                os.replace = real
                threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
                os.kill(os.getpid(), signal.SIGINT)
            real(source, target, **options)

        os.replace = replace


@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.02])
def test_ctrl_c_pressed_twice_is_pressed_once(subject: Subject, seconds: float) -> None:
    run = subject.place / "run"
    status, said = subject.search("--output", str(run), fault=Twice(seconds))
    assert status == 130, said
    assert "nothing is lost, go on with:" in last_line(said)
    assert not (run / "trying.json").exists()
    check_goes_on(subject, run)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_screen_is_one_line(subject: Subject) -> None:
    run, errors = subject.place / "run", subject.place / "errors"
    assert killing.search([*subject.arguments, "--output", str(run)], Path("/dev/full"), errors=errors) == 2
    assert errors.read_text() == (
        "python -m gaprune.search: error: cannot write to standard output: No space left on device\n"
    )
    assert not run.exists()


@dataclass(frozen=True)
class ScreenFull:
    """Standard output takes no more once the first state is saved."""

    def install(self) -> None:
        real = os.replace

        def replace(source: Any, target: Any, **options: Any) -> None:
            if str(target).endswith("state/000001.json"):
                os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            real(source, target, **options)

        os.replace = replace


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_screen_that_is_full_in_the_middle_says_how_to_go_on(subject: Subject) -> None:
    run, errors = subject.place / "run", subject.place / "errors"
    argv = [*subject.arguments, "--output", str(run)]
    assert killing.search(argv, subject.place / "output", ScreenFull(), errors) == 2
    (line,) = errors.read_text().splitlines()
    assert "cannot write to standard output: No space left on device; nothing is lost, go on with: " in line
    check_goes_on(subject, run)


def shell(words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """What bash makes of a line in which ``gaprune`` is the command; the status is the first one's of a pipe."""
    line = f"{words}; exit ${{PIPESTATUS[0]}}"
    program = f'gaprune() {{ {sys.executable} -m gaprune "$@"; }}; {line}'
    places = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    return subprocess.run(
        ["bash", "-c", program], env={**os.environ, "PYTHONPATH": places, **variables}, capture_output=True
    )


@pytest.mark.parametrize("command", ["--version", "--help", "search --help", "status {run}"])
@pytest.mark.parametrize(
    ("to", "status", "told"),
    [
        (">/dev/full", 2, b"error: cannot write to standard output: No space left on device\n"),
        (">&-", 0, b""),
        ("| :", 141, b""),
        ("2>&- >/dev/full", 2, b""),
    ],
)
def test_a_screen_that_is_closed_or_full(subject: Subject, command: str, to: str, status: int, told: bytes) -> None:
    words = command.format(run=subject.whole)
    late = "sleep 0.3; " if to == "| :" else ""  # the reader is gone by then
    done = shell(f"{{ {late} gaprune {words}; }} {to}")
    assert done.returncode == status, done.stderr
    assert done.stderr.endswith(told)
    assert done.stderr.count(b"\n") == told.count(b"\n")


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_names_that_are_no_text_of_the_locale_are_names(subject: Subject, variables: dict[str, str]) -> None:
    run = os.fsdecode(os.fsencode(subject.place) + b"/caf\xc3\xa9 \xff")
    typed = " ".join(map(str, subject.arguments))
    done = shell(f"gaprune search {typed} --generations 1 --output '{run}'", **variables)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert os.path.isdir(run)
    assert read_manifest(Path(run))["options"]["output"] == run or variables
    done = shell(f"gaprune search --trust --resume '{run}' --generations 2 && gaprune status '{run}'", **variables)
    assert done.returncode == 0, done.stderr
    assert killing.evaluations(Path(run)) == killing.evaluations(subject.whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_is_one_line_and_the_search_goes_on_when_there_is_room(
    subject: Subject, disk: Path
) -> None:
    files = [file for file in subject.whole.rglob("*") if file.is_file() and file.name != "report.html"]
    whole = sum(-(-file.stat().st_size // 4096) * 4096 for file in files)
    run = disk / "run"
    for share in (0.2, 0.4, 0.6, 0.8):
        subprocess.run(["mount", "-o", f"remount,size={int(whole * share) // 1024}k", str(disk)], check=True)
        words = ["--resume", str(run)] if (run / "manifest.json").exists() else None
        status, said = subject.resume(run) if words else subject.search("--output", str(run))
        assert status == 2, said
        assert last_line(said).startswith("python -m gaprune.search: error: cannot write ")
        assert last_line(said).endswith(": No space left on device")
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    check_goes_on(subject, run)


@dataclass(frozen=True)
class ReadOnly:
    """No name may be made or changed in a folder once a file in it has been written."""

    file: str

    def install(self) -> None:
        module = importlib.import_module("os")
        real = module.replace

        def replace(source: Any, target: Any, **options: Any) -> None:
            real(source, target, **options)
            if str(target).endswith(self.file):
                lock(Path(target).parent)

        module.replace = replace


def lock(folder: Path) -> None:
    if os.geteuid():
        folder.chmod(0o555)
    else:
        subprocess.run(["chattr", "+i", str(folder)], check=True)


def unlock(folder: Path) -> None:
    if os.geteuid():
        folder.chmod(0o755)
    else:
        subprocess.run(["chattr", "-i", str(folder)], check=True)


def can_lock(folder: Path) -> bool:
    if os.geteuid() == 0 and shutil.which("chattr") is None:
        return False
    try:
        lock(folder)
        unlock(folder)
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.mark.parametrize("file", ["state/000001.json", "run/statistics.safetensors"])
def test_a_directory_that_becomes_read_only_in_the_middle(subject: Subject, file: str) -> None:
    if not can_lock(subject.place):
        pytest.skip("cannot make a folder read-only here")
    run = subject.place / "run"
    folder = (subject.place / file if file.startswith("run") else run / file).parent
    try:
        status, said = subject.search("--output", str(run), fault=ReadOnly(file))
    finally:
        unlock(folder)
    assert status == 2, said
    assert last_line(said).startswith(
        f"python -m gaprune.search: error: cannot write {'in ' if 'state' in file else ''}"
    )
    assert last_line(said).endswith(("Operation not permitted", "Permission denied"))
    check_goes_on(subject, run)


@dataclass(frozen=True)
class ShortOfMemory:
    """A function asks torch for more memory than any machine has.

    Attributes:
        place: its module.
        name: of the function, or of a class's.
    """

    place: str
    name: str

    def install(self) -> None:
        *path, name = self.name.split(".")
        where: Any = importlib.import_module(self.place)
        for step in path:
            where = getattr(where, step)
        setattr(where, name, lambda *arguments, **options: torch.empty(1 << 50))


@pytest.mark.parametrize(
    ("place", "name"), [("gaprune.front.build", "Builder.__call__"), ("gaprune.commands.search", "draw")]
)
def test_too_little_memory_after_the_search_is_one_line_and_it_goes_on_when_there_is_more(
    subject: Subject, place: str, name: str
) -> None:
    run = subject.place / "run"
    status, said = subject.search("--output", str(run), fault=ShortOfMemory(place, name))
    assert status == 2, said
    line = last_line(said)
    assert line.startswith("python -m gaprune.search: error: memory is too short: ")
    assert f"; nothing is lost, go on with: python -m gaprune.search --resume {run} " in line
    check_goes_on(subject, run)


def test_too_little_memory_before_the_search_is_one_line(subject: Subject) -> None:
    run = subject.place / "run"
    status, said = subject.search("--output", str(run), fault=ShortOfMemory("gaprune.session.engine", "collect"))
    assert status == 2, said
    assert last_line(said).startswith("python -m gaprune.search: error: memory is too short: ")
    assert not run.exists()


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_what_says_that_memory_is_short(error: Exception, short: bool) -> None:
    assert out_of_memory(error) == short
