from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE

from gaprune.errors import RunError
from gaprune.runs import (
    CHECKSUMS,
    RunDirectory,
    check_free,
    default_run_path,
    file_digest,
    read_manifest,
    replacing,
    seal_folder,
)
from gaprune.runs.directory import SECONDS

MANIFEST = {"options": {"model": "vgg16"}, "seed": 0}


def full_disk(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "a"


def test_a_run_is_made_closed_and_opened_again(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.log.append({"key": "a"})
        run.save_state(1, {"x": np.arange(3)}, {"generation": 1})
        assert run.path == path
    with RunDirectory.open(path) as run:
        assert run.manifest == MANIFEST
        assert run.log.load() == [{"key": "a"}]
        latest = run.latest_state()
    assert latest is not None
    number, arrays, meta = latest
    assert (number, meta) == (1, {"generation": 1})
    np.testing.assert_array_equal(arrays["x"], np.arange(3))


def test_a_new_run_has_no_state_and_no_evaluations(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        assert run.latest_state() is None
        assert run.log.load() == []


def test_an_empty_directory_may_become_a_run(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path, MANIFEST):
        assert read_manifest(tmp_path) == MANIFEST


def test_a_directory_with_other_things_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match=r"is not empty \(it has thesis\.tex\): choose a new or empty directory"):
        RunDirectory.create(tmp_path, MANIFEST)
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("leftover", [".manifest.json.12.tmp", "..lock.json.12.tmp"])
def test_a_directory_in_which_a_run_was_killed_at_its_start_can_be_used(tmp_path: Path, leftover: str) -> None:
    for name in (".lock", ".lock.json", leftover):
        (tmp_path / name).write_bytes(b"")
    check_free(tmp_path)
    RunDirectory.create(tmp_path, MANIFEST).close()
    assert not (tmp_path / leftover).exists()


@pytest.mark.parametrize("foreign", [".notes.12.tmp", ".manifest.json.tmp", "manifest.json.12.tmp"])
def test_what_is_no_leftover_of_ours_is_not_removed(tmp_path: Path, foreign: str) -> None:
    for name in (".lock", foreign):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(RunError, match="is not empty"):
        RunDirectory.create(tmp_path, MANIFEST)
    assert (tmp_path / foreign).exists()


def test_a_finished_run_is_not_overwritten(path: Path) -> None:
    RunDirectory.create(path, MANIFEST).close()
    with pytest.raises(RunError, match="already holds a run: continue it with --resume"):
        RunDirectory.create(path, {})
    assert read_manifest(path) == MANIFEST


def test_a_file_in_the_place_of_the_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(RunError, match="cannot make the directory"):
            RunDirectory.create(path, MANIFEST)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_at_the_start_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(RunError, match="No space left on device"):
        RunDirectory.create(path, MANIFEST)
    assert os.listdir(tmp_path) == []


def test_a_manifest_that_cannot_be_written_leaves_an_empty_directory_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunDirectory.create(tmp_path, {"accuracy": float("nan")})
    assert os.listdir(tmp_path) == []


def test_what_is_no_run_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory: it has no manifest\.json$"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunError, match=r"is not a run directory: there is no such directory$"):
        RunDirectory.open(tmp_path / "none")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_manifest_is_named(path: Path, content: str) -> None:
    RunDirectory.create(path, MANIFEST).close()
    (path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match=r"manifest\.json is (damaged|not as it was written): .+"):
        RunDirectory.open(path)


CREATE = """
import sys
from pathlib import Path
from gaprune.runs import RunDirectory
with RunDirectory.create(Path(sys.argv[1]), {}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_of_another_process_can_be_neither_opened_nor_made_anew(path: Path) -> None:
    command = [sys.executable, "-c", CREATE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        in_use = f"is in use by process {other.pid} on host"
        with pytest.raises(RunError, match=in_use):
            RunDirectory.open(path)
        with pytest.raises(RunError, match=in_use):
            RunDirectory.create(path, MANIFEST)
        assert read_manifest(path) == {}
        other.stdin.close()
        assert other.wait(timeout=PATIENCE) == 0
    RunDirectory.open(path).close()


SEARCH = """
import sys
from itertools import count
from pathlib import Path
import numpy as np
from gaprune.runs import RunDirectory
with RunDirectory.create(Path(sys.argv[1]), {"seed": 0}) as run:
    for number in count(1):
        run.log.append({"number": number})
        run.save_state(number, {"x": np.full(100, number)}, {"generation": number})
        print(number, flush=True)
"""


@pytest.mark.parametrize("generations", [1, 4, 9])
def test_a_run_killed_at_any_moment_goes_on_from_its_last_whole_generation(path: Path, generations: int) -> None:
    command = [sys.executable, "-c", SEARCH, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout is not None
        lines = [search.stdout.readline() for _ in range(generations)]
        search.kill()
        lines += search.stdout.readlines()
    finished = max(int(line) for line in lines if line.endswith("\n"))
    with RunDirectory.open(path) as run:
        latest = run.latest_state()
        assert latest is not None
        number, arrays, meta = latest
        assert finished <= number <= finished + 1
        assert meta == {"generation": number}
        np.testing.assert_array_equal(arrays["x"], np.full(100, number))
        assert [record["number"] for record in run.log.load()][:number] == list(range(1, number + 1))
        run.log.append({"number": "next"})
        assert run.log.load()[-1] == {"number": "next"}


def test_the_manifest_given_out_is_a_copy(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.manifest["options"]["model"] = "resnet18"
        assert run.manifest == MANIFEST


def test_updated_values_are_on_disk(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.update_manifest(finished=True, seed=1)
        assert run.manifest == read_manifest(path) == {**MANIFEST, "finished": True, "seed": 1}


def test_wall_time_adds_up_over_sessions_and_nothing_counts_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([107.0, 110.0, 1005.5])
    monkeypatch.setattr("gaprune.runs.directory.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    with RunDirectory.create(path, {**MANIFEST, SECONDS: 0.0}) as run:
        run.note_seconds(100.0)
        run.note_seconds(100.0, finished=True)
        assert read_manifest(path) == {**MANIFEST, SECONDS: 10.0, "finished": True}
    with RunDirectory.open(path) as run:
        run.note_seconds(1000.0)
        assert read_manifest(path)[SECONDS] == 15.5


def test_a_run_that_was_begun_without_wall_time_gets_none(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.note_seconds(0.0, finished=True)
        assert read_manifest(path) == {**MANIFEST, "finished": True}


def test_a_full_disk_during_a_run_is_one_line_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.save_state(1, {}, {})
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", full_disk)
            with pytest.raises(RunError, match=r"cannot write in .*state: No space left on device"):
                run.save_state(2, {}, {})
            with pytest.raises(RunError, match="cannot write in"):
                run.update_manifest(finished=True)
        assert run.manifest == read_manifest(path) == MANIFEST
        assert run.latest_state() == (1, {}, {})


def test_a_damaged_state_is_logged_as_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.save_state(1, {}, {})
        (path / "state" / "000001.json").write_text("{")
        with caplog.at_level(logging.WARNING, logger="gaprune.runs"):
            assert run.latest_state() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "000001.json is damaged and set aside" in caplog.text


def test_leftovers_of_a_killed_process_are_removed_on_opening(path: Path) -> None:
    with RunDirectory.create(path, MANIFEST) as run:
        run.save_state(1, {}, {})
    leftovers = [path / ".manifest.json.1.tmp", path / "state" / ".000002.json.1.tmp"]
    for leftover in leftovers:
        leftover.write_bytes(b"")
    RunDirectory.open(path).close()
    assert not any(leftover.exists() for leftover in leftovers)


def test_a_closed_run_can_be_closed_again_and_taken_by_the_next(path: Path) -> None:
    first = RunDirectory.create(path, MANIFEST)
    first.close()
    with RunDirectory.open(path):
        first.close()
        with pytest.raises(RunError, match="in use"):
            RunDirectory.open(path)


def test_the_default_path_names_model_data_and_time_and_is_new(tmp_path: Path) -> None:
    first = default_run_path(tmp_path, "vgg16", "cifar10")
    assert re.fullmatch(r"vgg16-cifar10-\d{8}-\d{6}", first.name)
    paths = set()
    for _ in range(3):
        path = default_run_path(tmp_path, "my.nets:factory", "../my images")
        path.mkdir()
        paths.add(path)
        assert re.fullmatch(r"my\.nets-factory-my-images-\d{8}-\d{6}(-\d)?", path.name)
        assert path.parent == tmp_path
    assert len(paths) == 3


def test_a_front_that_was_set_aside_returns_before_the_checksums_are_settled(path: Path) -> None:
    """As a process leaves a run that is killed while a new front takes the old one's place."""
    with RunDirectory.create(path, MANIFEST):
        for name, content in (("front", b"old"), ("front.partial", b"new")):
            (path / name).mkdir()
            (path / name / "00").write_bytes(content)
            seal_folder(path / name, ["00"])
        new = {f"front/{CHECKSUMS}": file_digest(path / "front.partial" / CHECKSUMS)}
        replacing(path, {f"front/{CHECKSUMS}": file_digest(path / "front" / CHECKSUMS)}, lambda: None)

        def killed() -> None:
            (path / "front").rename(path / "front.old")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            replacing(path, new, killed)
    for _ in range(2):
        with RunDirectory.open(path):
            assert (path / "front" / "00").read_bytes() == b"old"
