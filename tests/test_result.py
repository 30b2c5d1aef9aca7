"""What a search hands back to Python, and what it shows there."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from listener import Listener
from rich.console import Console
from torch import nn

import gaprune
from gaprune.commands.result import SearchResult, show_result
from gaprune.data import ImageData
from gaprune.errors import OptionError
from gaprune.options.cli import Interrupted
from gaprune.progress import SILENT
from gaprune.runs.display import over_budgets
from gaprune.session.callbacks import Generation

SMALL: dict[str, Any] = {"population": 4, "generations": 3, "search_size": 30, "device": "cpu", "threads": 1}


def run(model: nn.Module, data: ImageData, path: Path, **options: object) -> SearchResult:
    return gaprune.search(model, data, output=path, **{**SMALL, **options})  # type: ignore[arg-type]


@pytest.fixture
def result(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> SearchResult:
    return run(trained, square_data, tmp_path / "run", reporter=SILENT)


def test_python_is_told_the_result_as_the_command_is(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Listener()
    found = run(trained, square_data, tmp_path / "run", reporter=told)
    assert capsys.readouterr().out == ""
    assert str(found) in told.lines
    (picked,) = (line for line in told.lines if line.startswith("picked (knee): member "))
    assert found.picked is not None
    assert found.original is not None
    assert " points of test accuracy with " in picked
    assert picked.endswith(f'gaprune.load("{tmp_path / "run" / found.picked.path}", model=model)')
    assert sum("MB on disk" in line for line in told.lines) == 1
    assert any(line.startswith("took: ") and f" for {found.candidates} candidates, " in line for line in told.lines)
    assert len(set(told.lines)) == len(told.lines), "a line is said twice"


def test_by_default_it_is_printed_and_silence_is_silent(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(trained, square_data, tmp_path / "run")
    assert str(found) in capsys.readouterr().out
    gaprune.search(trained, square_data, resume=found.path, reporter=SILENT)  # type: ignore[operator]
    assert capsys.readouterr().out == ""


def test_a_result_is_one_line_as_a_value_and_a_table_when_printed(result: SearchResult) -> None:
    assert result.picked is not None
    assert (
        repr(result)
        == f"<SearchResult {str(result.path)!r}: {len(result.rows)} networks, picked: {result.picked.name}>"
    )
    assert "\n" not in repr(result)
    assert "Conv2d" not in str(result)
    assert all(row.name in str(result) for row in result.rows)
    stream = io.StringIO()
    Console(file=stream, width=100).print(result)
    assert all(row.name in stream.getvalue() for row in result.rows)


def test_a_member_is_loaded_by_its_name(result: SearchResult) -> None:
    row = result.rows[-1]
    assert isinstance(result.load(row.name), nn.Module)
    with pytest.raises(OptionError, match=r"has [0-9]+ members?, none with index 99"):
        result.load(99)
    with pytest.raises(OptionError, match="has no member 00000000"):
        result.load("00000000")


def test_the_front_is_a_frame_where_pandas_is_installed(result: SearchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    class DataFrame(list[Any]):
        def set_index(self, name: str) -> dict[str, Any]:
            return {record[name]: record for record in self}

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=DataFrame))
    frame = result.frame()
    assert list(frame) == [row.name for row in result.rows]
    assert result.original is not None
    for row in result.rows:
        record = frame[row.name]
        assert record["search_accuracy"] == row.search_accuracy
        assert record["objective_divergence"] == row.objectives["divergence"]
        lost = 100 * (result.original.test_accuracy - row.test_accuracy)  # type: ignore[operator]
        assert record["points_lost"] == pytest.approx(lost)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match=r"frame\(\) needs pandas, which is not installed: pip install pandas; .*csv"):
        result.frame()


def test_a_callback_is_told_of_every_generation(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    told: list[Generation] = []
    found = run(trained, square_data, tmp_path / "run", reporter=SILENT, callbacks=[told.append])
    assert [one.number for one in told] == [1, 2, 3]
    assert {one.total for one in told} == {3}
    assert told[-1].path == found.path
    assert told[-1].candidates == found.candidates
    log = [json.loads(line)["values"]["flops"] for line in (found.path / "evaluations.jsonl").read_text().splitlines()]
    assert {values["flops"] for values in told[-1].front} <= set(log)
    assert {row.flops for row in found.rows} & {values["flops"] for values in told[-1].front}, (
        "rungs may be beside them"
    )
    assert told[0].hypervolume <= told[-1].hypervolume
    assert 0 < told[0].seconds <= told[-1].seconds


def stopping(error: BaseException) -> Any:
    def stop(generation: Generation) -> None:
        if generation.number == 2:
            raise error

    return stop


@pytest.mark.parametrize("error", [ValueError("enough"), OSError("the board does not answer"), KeyboardInterrupt()])
def test_what_a_callback_raises_stops_the_search_cleanly(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "run"
    expected = Interrupted if isinstance(error, KeyboardInterrupt) else type(error)
    with pytest.raises(expected) as caught:
        run(trained, square_data, path, reporter=SILENT, callbacks=[stopping(error)])
    if isinstance(error, KeyboardInterrupt):
        assert f'resume="{path}"' in str(caught.value)
    else:
        assert caught.value is error
        assert f'go on with gaprune.search(..., resume="{path}")' in "".join(error.__notes__)
    told: list[Generation] = []
    again = gaprune.search(trained, square_data, resume=path, reporter=SILENT, callbacks=[told.append])  # type: ignore
    assert [one.number for one in told] == [3]
    whole = run(trained, square_data, tmp_path / "whole", reporter=SILENT)
    assert [row.key for row in again.rows] == [row.key for row in whole.rows]


def test_what_a_callback_raises_in_an_iteration_names_the_whole_run(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    path, error = tmp_path / "run", ValueError("enough")
    with pytest.raises(ValueError, match="enough"):
        run(trained, square_data, path, reporter=SILENT, callbacks=[stopping(error)], iterations=2)
    assert f'resume="{path}")' in "".join(error.__notes__)


@pytest.mark.parametrize("wrong", [print, [3], "print"])
def test_callbacks_that_are_no_functions_are_refused_at_once(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, wrong: object
) -> None:
    with pytest.raises(OptionError, match="callbacks must be a list of functions of one generation, got "):
        run(trained, square_data, tmp_path / "run", callbacks=wrong)
    assert not (tmp_path / "run").exists()


def test_what_is_shown_is_asked_for_and_not_recorded(
    trained: nn.Module,
    square_data: ImageData,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = {"quiet": True, "log_level": "info", "all": True}
    found = run(trained, square_data, tmp_path / "run", **asked)
    assert capsys.readouterr() == ("", "")
    assert "generation 3 of 3: " in caplog.text
    assert not logging.getLogger("gaprune").isEnabledFor(logging.INFO), "it is set back"
    options = json.loads((found.path / "manifest.json").read_text())["options"]
    assert not set(asked) & set(options)
    again = gaprune.search(trained, square_data, resume=found.path, **asked)  # type: ignore[operator]
    assert again.rows == found.rows
    with pytest.raises(OptionError, match="unknown log-level 'loud': choose "):
        run(trained, square_data, tmp_path / "other", log_level="loud")


def test_a_long_front_is_shown_whole_where_that_is_asked_for(result: SearchResult) -> None:
    rows = [dataclasses.replace(result.rows[0], index=n, flops_share=(n + 1) / 100) for n in range(50)]
    many, short, whole = dataclasses.replace(result, rows=rows, picked=rows[7]), Listener(), Listener()
    show_result(many, short)
    show_result(many, whole, every=True)
    assert short.lines[0].count(f"| {rows[0].name} |") == len(over_budgets(rows, rows[7])) < 16
    assert whole.lines[0].count(f"| {rows[0].name} |") == 50
