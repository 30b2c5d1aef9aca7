from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.errors import RunError
from gaprune.runs.log import EvaluationLog

RECORDS: list[dict[str, Any]] = [{"key": "aé", "accuracy": 0.1}, {"key": "b", "failed": "out\nof memory"}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "evaluations.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[EvaluationLog]:
    log = EvaluationLog(path)
    yield log
    log.close()


def write(path: Path, records: list[dict[str, Any]]) -> None:
    log = EvaluationLog(path)
    for record in records:
        log.append(record)
    log.close()


def test_a_log_that_does_not_exist_is_empty(log: EvaluationLog, path: Path) -> None:
    assert log.load() == []
    assert not path.exists()


def test_each_record_is_one_line_and_comes_back(log: EvaluationLog, path: Path) -> None:
    for record in RECORDS:
        log.append(record)
        assert EvaluationLog(path).load()[-1] == record
    assert path.read_bytes().count(b"\n") == len(RECORDS)
    assert log.load() == RECORDS


json_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_objects = st.dictionaries(st.text(), json_values | st.text() | st.lists(json_values), max_size=4)


@settings(max_examples=25, deadline=None)
@given(st.lists(json_objects, max_size=5))
def test_any_records_come_back_in_order(tmp_path_factory: pytest.TempPathFactory, records: list[Any]) -> None:
    path = tmp_path_factory.mktemp("log") / "evaluations.jsonl"
    write(path, records)
    assert EvaluationLog(path).load() == records


def test_every_torn_ending_loses_the_last_record_only(path: Path) -> None:
    write(path, RECORDS)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        assert EvaluationLog(path).load() == RECORDS[:1]


def test_a_torn_line_is_cut_off_before_the_next_record(path: Path) -> None:
    write(path, RECORDS)
    path.write_bytes(path.read_bytes()[:-5])
    write(path, [{"key": "c"}])
    assert EvaluationLog(path).load() == [RECORDS[0], {"key": "c"}]


def test_a_last_line_of_zeros_is_torn_too(path: Path) -> None:
    write(path, RECORDS)
    with path.open("ab") as file:
        file.write(bytes(20) + b"\n")
    write(path, [{"key": "c"}])
    assert EvaluationLog(path).load() == [*RECORDS, {"key": "c"}]


@pytest.mark.parametrize("damage", [b"{", b"", b"[1]", b"\xff"])
def test_a_damaged_middle_line_is_named(path: Path, damage: bytes) -> None:
    write(path, [*RECORDS, *RECORDS])
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RunError, match=r"evaluations\.jsonl is damaged at line 3: expected a JSON object"):
        EvaluationLog(path).load()
    with pytest.raises(RunError, match="line 3"):
        EvaluationLog(path).append({})


@pytest.mark.parametrize("call", ["fsync"])
def test_a_full_disk_leaves_the_records_before_whole(
    path: Path, log: EvaluationLog, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log.append(RECORDS[0])
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full_disk)
        with pytest.raises(RunError, match=r"cannot write .*evaluations\.jsonl: No space left on device"):
            log.append(RECORDS[1])
    assert path.read_bytes() == before
    log.append(RECORDS[1])
    assert log.load() == RECORDS


def test_lines_are_synced_each_n(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EvaluationLog(path, sync_every=3)
    log.append({})
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for expected in (0, 1, 1, 1, 2):
        log.append({})
        assert len(synced) == expected
    log.close()
    assert len(synced) == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_record_that_json_cannot_hold_is_our_mistake_and_writes_nothing(
    log: EvaluationLog, path: Path, value: float
) -> None:
    with pytest.raises(ValueError, match="JSON"):
        log.append({"loss": value})
    assert not path.exists()
