from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from gaprune.runs.files import (
    atomic_write,
    json_bytes,
    put_back,
    remove_temporary_files,
    take_place,
    write_json,
)
from gaprune.runs.reading import read_json_object


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_and_overwritten_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "a.bin"
    atomic_write(path, b"one")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_what_a_killed_process_left_is_removed_and_nothing_more(tmp_path: Path) -> None:
    for name in (".a.json.123.tmp", "b.tmp", ".lock"):
        (tmp_path / name).write_bytes(b"")
    remove_temporary_files(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".lock", "b.tmp"]


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"accuracy": 0.1 + 0.2, "names": ["é", None], "big": 2**70}
    write_json(tmp_path / "a.json", value)
    assert read_json_object(tmp_path / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_word_for_what_is_not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_bytes({"accuracy": value})


@pytest.mark.parametrize("content", [b"[1]", b"{", b"", b"\xff{}"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        read_json_object(tmp_path / "a.json")


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "weights").write_text(content)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    place = folder(tmp_path / "front", "old")
    take_place(folder(tmp_path / "front.partial", "new"), place)
    assert (place / "weights").read_text() == "new"
    assert os.listdir(tmp_path) == ["front"]


def test_an_old_folder_outlives_a_process_that_was_stopped_while_another_took_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, new = folder(tmp_path / "front", "old"), folder(tmp_path / "front.partial", "new")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
        take_place(new, place)
    assert sorted(os.listdir(tmp_path)) == ["front", "front.old"]  # stopped before the old one was removed
    put_back(place)
    assert os.listdir(tmp_path) == ["front"]
    assert (place / "weights").read_text() == "new"

    place.rename(tmp_path / "front.old")  # stopped between the two renamings
    put_back(place)
    assert os.listdir(tmp_path) == ["front"]
    put_back(place)
    assert (place / "weights").read_text() == "new"
