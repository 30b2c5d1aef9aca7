"""A member that the default training makes worse is trained again, more gently; once, and not where a rate is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listener import Listener
from tuning import TUNE, left_by, metrics, stopped_after

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.options import Interrupted
from gaprune.recovery import members, network
from gaprune.training import loop as training_loop

DEFAULTS = {name: value for name, value in TUNE.items() if name != "lr"}


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default rate that ruins networks, of which a tenth does them good."""
    monkeypatch.setattr(network, "gentler", lambda model: 40.0)
    monkeypatch.setattr(members, "GENTLER", 0.01)


def tuned(result: SearchResult, original: Any, faint: ImageData, **options: Any) -> SearchResult:
    given = {**DEFAULTS, "pick": "0", "epochs": 8, **options}
    return gaprune.finetune(result.path, model=original, data=faint, **given)


def records(result: SearchResult) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = metrics(result.path / result.rows[0].home)["finetuned"]
    return found


@pytest.mark.usefixtures("coarse")
def test_the_second_try_is_handed_out(
    searched: Callable[..., SearchResult], original: Any, faint: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, listener = searched(), Listener()
    result = tuned(run, original, faint, reporter=listener)
    first, second = records(result)
    assert first["search_accuracy"] < run.rows[0].search_accuracy < second["search_accuracy"]
    assert second["recipe"]["lr"] == pytest.approx(first["recipe"]["lr"] / 100)
    assert result.rows[0].search_accuracy == second["search_accuracy"]
    assert "member 0 is worse for it: trained again, at 1% of the learning rate" in listener.lines
    before = left_by(run.path)
    monkeypatch.setattr(training_loop, "train_step", None)
    assert tuned(run, original, faint).rows == result.rows
    assert left_by(run.path) == before


@pytest.mark.usefixtures("coarse")
def test_stopped_in_the_second_try_it_goes_on_there(
    searched: Callable[..., SearchResult],
    original: Any,
    faint: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, steps = searched(), 0
    again = SearchResult(shutil.copytree(run.path, tmp_path / "again"), run.rows, None, original)
    real = training_loop.train_step

    def counting(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", counting)
        whole = tuned(run, original, faint)
    with stopped_after(3 * steps // 4, monkeypatch), pytest.raises(Interrupted):
        tuned(again, original, faint)
    assert len(records(again)) == 1
    assert tuned(again, original, faint).rows == whole.rows
    assert left_by(again.path) == left_by(whole.path)


@pytest.mark.usefixtures("coarse")
def test_a_rate_that_was_given_is_the_only_one(
    searched: Callable[..., SearchResult], original: Any, faint: ImageData
) -> None:
    result = tuned(searched(), original, faint, lr=2.0)
    assert len(records(result)) == 1


def test_a_member_that_is_no_worse_is_trained_once(
    searched: Callable[..., SearchResult], original: Any, faint: ImageData
) -> None:
    assert len(records(tuned(searched(), original, faint))) == 1
