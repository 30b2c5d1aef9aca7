from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from patience import PATIENCE

from gaprune.errors import RunError
from gaprune.runs.lock import HOLDER_NAME, LOCK_NAME, DirectoryLock

HOLD = """
import sys
from pathlib import Path
from gaprune.runs.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns ``directory`` until its input ends."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        with pytest.raises(RunError) as caught:
            DirectoryLock(tmp_path).acquire()
        message = str(caught.value)
        assert f"{tmp_path} is in use by process {first.pid} on host {socket.gethostname()} since 2" in message
        assert "\n" not in message


def test_the_lock_of_a_killed_process_can_be_taken(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=PATIENCE)
        assert (tmp_path / HOLDER_NAME).exists()
        lock = DirectoryLock(tmp_path)
        lock.acquire()
        assert f'"pid": {os.getpid()}' in (tmp_path / HOLDER_NAME).read_text()
        lock.release()


def test_the_same_process_cannot_own_a_directory_twice(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        DirectoryLock(tmp_path).acquire()
    lock.release()
    again = DirectoryLock(tmp_path)
    again.acquire()
    again.release()


def test_a_holder_without_a_name_still_holds(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    (tmp_path / HOLDER_NAME).write_text("{")
    with pytest.raises(RunError, match="in use by another process"):
        DirectoryLock(tmp_path).acquire()
    lock.release()


def test_release_takes_the_name_away_and_can_be_repeated(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    lock.release()
    lock.acquire()
    lock.release()
    lock.release()
    assert os.listdir(tmp_path) == [LOCK_NAME]


def test_a_full_disk_is_one_line_and_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full_disk)
        with pytest.raises(RunError, match=r"cannot write in .*: No space left on device"):
            DirectoryLock(tmp_path).acquire()
    assert os.listdir(tmp_path) == []
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    lock.release()


def test_what_is_no_directory_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot lock"):
        DirectoryLock(tmp_path / "file").acquire()


@pytest.mark.filterwarnings("ignore:flock not supported on this filesystem:UserWarning")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_on_a_file_system_without_locks_a_second_is_refused_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Or the first is, in one line."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)

    def acquire_both() -> None:
        first.acquire()
        second.acquire()

    with pytest.raises(RunError, match=r"^cannot lock |is in use by "):
        acquire_both()
    first.release()


def test_where_no_file_can_stand_for_a_lock_one_line_refuses_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with versions of filelock that know no file systems without locks."""

    def acquire(lock: FileLock, **options: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.raises(RunError, match=rf"^cannot lock {tmp_path}: its file system has no locks, choose another$"):
        DirectoryLock(tmp_path).acquire()


def test_of_ten_processes_at_one_directory_one_owns_it(tmp_path: Path) -> None:
    """They all try at once, and hold it until all have tried."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom gaprune.errors import RunError\n"
        "from gaprune.runs.lock import DirectoryLock\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "lock = DirectoryLock(Path(sys.argv[1]))\n"
        "try:\n    lock.acquire()\n    print('owns', flush=True)\n"
        "except RunError as error:\n    print(error, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", script, str(tmp_path)]
    processes = [subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) for _ in range(10)]
    try:
        assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 10
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [process.stdout.readline() for process in processes if process.stdout]
    finally:
        for process in processes:
            process.communicate("\n")
    assert said.count("owns\n") == 1
    assert all("is in use by " in line for line in said if line != "owns\n")
