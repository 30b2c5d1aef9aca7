from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaprune.runs import states
from gaprune.runs.states import latest_state, save_state

ARRAYS = {
    "genomes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "objectives": np.array([[0.1, np.inf], [0.3, 0.4]]),
    "alive": np.array([True, False]),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 2)),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
}
META: dict[str, Any] = {"generation": 3, "random": {"state": 2**100, "names": ["a", None]}}


def save_numbers(folder: Path, *numbers: int) -> None:
    for number in numbers:
        save_state(folder, number, {"x": np.full(3, number)}, {"generation": number})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_state(tmp_path / "state", 12, ARRAYS, META)
    state, messages = latest_state(tmp_path / "state")
    assert state is not None
    assert messages == []
    assert (state.number, state.meta) == (12, META)
    assert state.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert state.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(state.arrays[name], array, strict=True)
    assert names(tmp_path / "state") == ["000012.json", "000012.safetensors"]


def test_a_loaded_array_is_the_callers_to_change(tmp_path: Path) -> None:
    save_numbers(tmp_path, 1)
    state, _ = latest_state(tmp_path)
    assert state is not None
    state.arrays["x"] += 1


def test_a_state_may_have_no_arrays(tmp_path: Path) -> None:
    save_state(tmp_path, 0, {}, {})
    state, _ = latest_state(tmp_path)
    assert state == states.State(0, {}, {})


def test_there_is_no_state_before_the_first(tmp_path: Path) -> None:
    assert latest_state(tmp_path) == (None, [])
    assert latest_state(tmp_path / "missing") == (None, [])


def test_the_last_three_states_are_kept(tmp_path: Path) -> None:
    save_numbers(tmp_path, 8, 9, 10, 999_999, 1_000_000)
    expected = ["000010", "1000000", "999999"]
    assert names(tmp_path) == sorted(f"{name}.{end}" for name in expected for end in ("json", "safetensors"))
    state, _ = latest_state(tmp_path)
    assert state is not None
    assert state.number == 1_000_000


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def change_meta(path: Path) -> None:
    record = json.loads(path.read_text())
    record["meta"]["generation"] = 77
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("000003.safetensors", cut),
        ("000003.safetensors", flip),
        ("000003.safetensors", Path.unlink),
        ("000003.json", cut),
        ("000003.json", change_meta),
        ("000003.json", lambda path: path.write_text("{}")),
        ("000003.json", lambda path: path.write_text("[]")),
    ],
)
def test_a_damaged_state_is_named_and_set_aside_and_the_one_before_is_used(
    tmp_path: Path, file: str, damage: Callable[[Path], Any]
) -> None:
    save_numbers(tmp_path, 1, 2, 3)
    damage(tmp_path / file)
    state, messages = latest_state(tmp_path)
    assert state is not None
    assert (state.number, state.meta) == (2, {"generation": 2})
    assert len(messages) == 1
    assert messages[0].startswith(f"state {tmp_path / '000003.json'} is damaged and set aside: ")
    assert "\n" not in messages[0]
    assert "000003.json.damaged" in names(tmp_path)
    assert not any(name.startswith("000003") and not name.endswith(".damaged") for name in names(tmp_path))
    again, messages = latest_state(tmp_path)
    assert again is not None
    assert (again.number, messages) == (2, [])


def test_when_all_states_are_damaged_each_is_named(tmp_path: Path) -> None:
    save_numbers(tmp_path, 1, 2)
    for number in (1, 2):
        flip(tmp_path / f"00000{number}.safetensors")
    state, messages = latest_state(tmp_path)
    assert state is None
    assert ["000002" in messages[0], "000001" in messages[1]] == [True, True]


def test_arrays_without_their_index_are_no_state_and_are_cleared_away(tmp_path: Path) -> None:
    save_numbers(tmp_path, 1, 2)
    (tmp_path / "000002.json").unlink()
    state, messages = latest_state(tmp_path)
    assert state is not None
    assert state.number == 1
    arrays = tmp_path / "000002.safetensors"
    assert messages == [f"state {arrays} was not saved to its end (it has no 000002.json) and is passed over"]
    assert names(tmp_path) == ["000001.json", "000001.safetensors"]
    assert latest_state(tmp_path)[1] == []


def fail_at(monkeypatch: pytest.MonkeyPatch, call: str, nth: int) -> None:
    """Let the ``nth`` call from now of an ``os`` function find the disk full."""
    real, count = getattr(os, call), 0

    def maybe(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(os, call, maybe)


@pytest.mark.parametrize(("call", "nth"), [("fsync", 1), ("fsync", 2), ("fsync", 3), ("replace", 1), ("replace", 2)])
def test_a_full_disk_leaves_the_states_before_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    save_numbers(tmp_path, 1, 2, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patched:
        fail_at(patched, call, nth)
        with pytest.raises(OSError, match="No space left"):
            save_numbers(tmp_path, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    save_numbers(tmp_path, 4)
    state, messages = latest_state(tmp_path)
    assert state is not None
    assert (state.number, messages) == (4, [])


def test_a_state_can_be_saved_again_and_a_full_disk_then_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_numbers(tmp_path, 5)
    with monkeypatch.context() as patched:
        fail_at(patched, "fsync", 1)
        with pytest.raises(OSError, match="No space left"):
            save_state(tmp_path, 5, {"x": np.zeros(3)}, {"generation": 5})
    state, messages = latest_state(tmp_path)
    assert state is not None
    assert messages == []
    np.testing.assert_array_equal(state.arrays["x"], np.full(3, 5))


def test_a_meta_that_json_cannot_hold_is_our_mistake_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_state(tmp_path, 1, {}, {"best": float("nan")})
    assert names(tmp_path) == []
