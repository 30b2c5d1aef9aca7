"""Checksums that no kill, wherever it comes, can turn into a false alarm; and that miss no other content."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gaprune.errors import RunError
from gaprune.runs import RunDirectory
from gaprune.runs.files import put_back, take_place
from gaprune.runs.sealing import (
    CHECKSUMS,
    Seal,
    check_file,
    check_folder,
    file_digest,
    read_file,
    read_seal,
    remove_file,
    replacing,
    seal_folder,
    settle,
    write_file,
)


class KilledError(BaseException):
    """What ends a process at once."""


@contextmanager
def killed(nth: int, moment: str) -> Iterator[None]:
    """The process ends before or after the ``nth`` time that a name is given to a file or taken away."""
    left = nth

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and moment == "before":
                raise KilledError
            done = real(*arguments, **options)
            if left == 0 or left < 0:
                raise KilledError
            return done

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink"):
            patch.setattr(os, name, watched(getattr(os, name)))
        yield


def written(folder: Path) -> None:
    write_file(folder, "table.csv", b"new")


def written_first(folder: Path) -> None:
    write_file(folder, "other.csv", b"new")


def removed(folder: Path) -> None:
    remove_file(folder, "table.csv")


def folder_replaced(folder: Path) -> None:
    (folder / "new").mkdir()
    write_whole(folder / "new", b"2")
    seal = {f"inner/{CHECKSUMS}": file_digest(folder / "new" / CHECKSUMS)}
    replacing(folder, seal, lambda: take_place(folder / "new", folder / "inner"))


def write_whole(folder: Path, content: bytes) -> None:
    (folder / "a").write_bytes(content)
    seal_folder(folder, ["a"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    write_whole(tmp_path / "inner", b"1")
    (tmp_path / "table.csv").write_bytes(b"old")
    seal_folder(tmp_path, ["table.csv", f"inner/{CHECKSUMS}"])
    return tmp_path


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize("change", [written, written_first, removed, folder_replaced])
def test_a_kill_at_any_step_leaves_what_is_allowed(
    folder: Path, change: Callable[[Path], None], nth: int, moment: str
) -> None:
    with suppress(KilledError), killed(nth, moment):
        change(folder)
    check_folder(folder)
    put_back(folder / "inner")
    settle(folder)
    check_folder(folder)
    check_folder(folder / "inner")
    seal = read_seal(folder)
    assert seal is not None
    assert all(len(found) == 1 for found in seal.files.values())
    for name, (found,) in seal.files.items():
        assert file_digest(folder / name) == found


@pytest.mark.parametrize("change", [written, written_first, removed, folder_replaced])
def test_a_change_to_its_end_allows_the_new_content_alone(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder)
    seal = read_seal(folder)
    assert seal is not None
    assert all(found == [file_digest(folder / name)] for name, found in seal.files.items())
    check_folder(folder)


def test_a_full_disk_leaves_the_old_file_and_checksums_that_allow_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            written(folder)
    assert read_file(folder, "table.csv") == b"old"


def test_any_other_content_is_named_with_what_to_do(folder: Path) -> None:
    (folder / "table.csv").write_bytes(b"odd")
    for check in (lambda: read_file(folder, "table.csv"), lambda: check_file(folder, "table.csv")):
        with pytest.raises(RunError, match=r"table\.csv is not as it was written: put it back, or .* --accept"):
            check()
    (folder / "table.csv").unlink()
    with pytest.raises(RunError, match=r"table\.csv is gone"):
        read_file(folder, "table.csv")


def test_what_has_no_checksum_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert read_file(tmp_path, "a") == b"x"
    seal_folder(tmp_path, ["b"])
    assert read_file(tmp_path, "a") == b"x"
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path, "b")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"format": "gaprune-checksums-1"}'])
def test_damaged_checksums_are_named(folder: Path, content: bytes) -> None:
    (folder / CHECKSUMS).write_bytes(content)
    with pytest.raises(RunError, match=r"checksums\.json is not as it was written"):
        read_file(folder, "table.csv")


def test_a_changed_hash_is_damage_of_the_list_and_not_of_the_file(folder: Path) -> None:
    text = (folder / CHECKSUMS).read_text()
    known = str(file_digest(folder / "table.csv"))
    (folder / CHECKSUMS).write_text(text.replace(known, known[::-1]))
    with pytest.raises(RunError, match=r"checksums\.json is not as it was written"):
        read_file(folder, "table.csv")


def test_no_reader_takes_a_file_that_is_being_replaced_for_damage(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "run", {"options": {}}) as run:
        stop, alarms = threading.Event(), list[Exception]()

        def read() -> None:
            while not stop.is_set():
                try:
                    read_file(run.path, "manifest.json")
                except RunError as error:
                    alarms.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(60):
            run.update_manifest(number=number)
        stop.set()
        for reader in readers:
            reader.join()
    assert alarms == []


def test_a_seal_comes_back(tmp_path: Path) -> None:
    seal = Seal({"a": ["x", None]}, (3, "0" * 16), {"options": {"lr": 0.1, "name": "é"}})
    seal.write(tmp_path)
    assert read_seal(tmp_path) == seal
