"""``--recover``: members trained for a while before they are handed out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listener import Listener
from torch import nn
from tuning import SMALL, left_by, metrics, stopped_after

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.errors import OptionError
from gaprune.options import SearchOptions
from gaprune.options.cli import parse
from gaprune.recovery import timed
from gaprune.recovery.timed import paces
from gaprune.runs import RunDirectory, read_csv
from gaprune.training import Recipe

Again = Callable[..., SearchResult]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stands for the same few images on any machine."""
    monkeypatch.setattr(timed, "_timed", lambda *_: (1 / 400, 0.0))


@pytest.fixture
def again(make: Callable[..., Path], original: nn.Module, faint: ImageData, tmp_path: Path) -> Again:
    """Goes on with a copy of a finished search."""

    def go_on(**options: Any) -> SearchResult:
        path = tmp_path / "run"
        if not path.exists():
            shutil.copytree(make(), path)
        told = {"reporter": SMALL["reporter"], **options}
        return gaprune.search(original, faint, resume=path, **told)

    return go_on


def test_members_that_lost_accuracy_are_trained_and_the_search_images_say_what_is_handed_out(again: Again) -> None:
    before = {row.home: row for row in again().rows}
    listener = Listener()
    result = again(recover="6s", reporter=listener)
    assert result.rows == read_csv(result.path / "front.csv")
    (line,) = [line for line in listener.lines if line.startswith("recover: ")]
    assert "each is trained for about 6 s" in line
    trained = [row for row in result.rows if row.trained_epochs]
    assert trained, "some member got better"
    original = result.original
    assert original is not None
    for row in result.rows:
        old, told = before[row.home], metrics(result.path / row.home).get("finetuned", [])
        assert len(told) == (old.search_accuracy <= original.search_accuracy - timed.ENOUGH)
        assert row.search_accuracy >= old.search_accuracy
        assert bool(row.trained_epochs) == (row.search_accuracy > old.search_accuracy)
        if row.trained_epochs:
            readme = (result.path / row.path / "README.md").read_text()
            assert "about 6 s, with the original as teacher (--recover)" in readme
    assert not (result.path / "finetuning").exists()


def test_stopped_in_a_training_it_goes_on_and_ends_like_one_that_was_not(
    again: Again, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = again(recover=2)
    content = left_by(whole.path)
    shutil.rmtree(whole.path)
    with stopped_after(3, monkeypatch), pytest.raises(KeyboardInterrupt, match="go on with"):
        again(recover=2)
    monkeypatch.setattr(timed, "_timed", lambda *_: (1.0, 0.0))  # a slow day: what a time stands for is settled
    assert left_by(again().path) == content


def test_done_once_it_is_not_done_again_and_a_longer_time_is_another_training(again: Again) -> None:
    first = again(recover=2)
    count = {row.home: len(metrics(first.path / row.home).get("finetuned", [])) for row in first.rows}
    assert again(recover=2).rows == first.rows
    longer = again(recover=3)
    for row in longer.rows:
        assert len(metrics(longer.path / row.home).get("finetuned", [])) == 2 * count[row.home]
    with RunDirectory.open(longer.path) as run:
        assert run.manifest["options"]["recover"] == 3
        assert run.manifest["recover"]["seconds"] == 3


def test_what_a_time_stands_for_is_measured_on_the_network(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    result = again(recover=0.2)
    with RunDirectory.open(result.path) as run:
        settled = run.manifest["recover"]
    assert settled["epochs"] >= 1
    for row in result.rows:
        for training in metrics(result.path / row.home).get("finetuned", []):
            assert training["epochs"] == settled["epochs"]
            assert training["recipe"]["epoch_images"] == settled["epoch_images"]


def test_what_to_do_about_a_training_that_did_no_good_is_said_in_options_of_the_search(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    monkeypatch.setattr(timed, "gentle_recipe", lambda *_: Recipe(epochs=1, epoch_images=8, batch_size=4, lr=1e-9))
    again(recover=2, reporter=listener)
    lines = [line for line in listener.lines if "not kept" in line]
    assert lines
    assert all(line.endswith("not kept: give it more time (--recover 20s)") for line in lines)


def test_a_member_that_is_worse_for_it_is_trained_again_and_done_once(
    again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate ruins networks; a ten-billionth of it leaves them as they are."""
    listener = Listener()
    ruinous = Recipe(epochs=1, epoch_images=60, batch_size=10, lr=20.0)
    monkeypatch.setattr(timed, "gentle_recipe", lambda *_: ruinous)
    monkeypatch.setattr(timed, "more_gently", lambda recipe: replace(recipe, lr=2e-9))
    result = again(recover=2, reporter=listener)
    tried = [metrics(result.path / row.home).get("finetuned", []) for row in result.rows]
    twice = [records for records in tried if len(records) == 2]
    assert twice
    assert all(first["search_accuracy"] < second["search_accuracy"] for first, second in twice)
    assert sum("is worse for it: trained again" in line for line in listener.lines) == len(twice)
    assert [metrics(result.path / row.home).get("finetuned", []) for row in again(recover=2).rows] == tried


def test_where_no_member_lost_accuracy_nothing_is_trained(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "ENOUGH", 1.0)
    listener = Listener()
    before = again().rows
    assert again(recover=2, reporter=listener).rows == before
    assert "recover: no member loses 100 point or more on the search images" in listener.lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recover": "soon"}, "recover must be a number, or such as 60s or 2m, got 'soon'"),
        ({"recover": 0}, "recover must be above 0, got 0"),
        ({"recover": [60]}, r"recover must be above 0, got \[60\]"),
        ({"recover": 60, "iterations": 2}, "recover is for a single search: iterations train between searches"),
        ({"recover": 60, "algorithm": "rounds"}, "recover has no meaning with --algorithm rounds: rounds train by"),
    ],
)
def test_what_cannot_be_is_one_line(
    original: nn.Module, faint: ImageData, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        gaprune.search(original, faint, output=tmp_path / "run", **{**SMALL, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("2m", 120), ("1.5min", 90), ("1h", 3600), ("45", 45)])
def test_a_time_is_typed_with_or_without_its_unit(text: str, seconds: float) -> None:
    assert parse(SearchOptions, ["--recover", text], "prog").space.recover == seconds


@given(seconds=st.floats(1, 3600), rate=st.floats(1e-4, 1), check=st.floats(0, 60), images=st.integers(200, 50_000))
def test_a_training_takes_no_longer_than_its_time_unless_that_is_too_short(
    seconds: float, rate: float, check: float, images: int
) -> None:
    epochs, each = paces(seconds, rate, check, images, 64)
    shown = images if each is None else each
    assert 1 <= shown <= images
    assert each is None or each >= min(128, images)
    taken = epochs * (shown * rate + check)
    assert taken <= seconds * 1.001 or each == 128
