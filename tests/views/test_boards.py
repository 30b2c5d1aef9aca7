"""Event files for TensorBoard: every generation, also after a kill, and one line where the library is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gaprune.commands.boards import boards
from gaprune.errors import OptionError
from gaprune.options import SearchOptions, record


def test_every_generation_is_in_the_event_files(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    told = events.Scalars("search/hypervolume")
    assert [one.step for one in told] == [1, 2, 3]
    assert told[0].value <= told[-1].value
    assert events.Scalars("search/candidates")[-1].value >= 6
    assert any(name.startswith("accuracy/within ") for name in events.Tags()["scalars"])


def test_a_run_knows_nothing_of_it() -> None:
    assert "log" not in record(SearchOptions.of(log="tensorboard"))


def test_without_the_library_it_is_one_line_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r'needs tensorboard, which is not installed: pip install "gaprune\[tensorboard\]"'
    with pytest.raises(OptionError, match=message), boards(SearchOptions.of(log="tensorboard")):
        pytest.fail("it was begun")
    with boards(SearchOptions()) as writers:
        assert writers == ()
