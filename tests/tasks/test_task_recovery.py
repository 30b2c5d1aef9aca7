"""``recover`` in a search by a task: members that lost of the score are trained before they are handed out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from listener import Listener
from tiny_tasks import Kind, made
from torch import nn

import gaprune
from gaprune.errors import GapruneError, OptionError, TrainingError
from gaprune.front import trainings
from gaprune.progress import SILENT
from gaprune.recovery import timed_by_task
from gaprune.recovery.by_task import TaskTuner
from gaprune.tasks import judge

HERE: dict[str, Any] = {"device": "cpu", "threads": 1, "reporter": SILENT}
Train = Callable[[nn.Module], Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call takes a second on any machine."""
    monkeypatch.setattr(TaskTuner, "timed", lambda *_: 1.0)


def taught(kind: Kind, steps: int = 60) -> Train:
    """Trains a small regressor towards the original's answers, on data of its own."""
    given = {"left": torch.randn(64, 6), "right": torch.randn(64, 4)}
    with torch.no_grad():
        wanted = kind.network(**given)

    def train(network: nn.Module) -> int:
        optimizer = torch.optim.AdamW(network.parameters(), 0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            (network(**given) - wanted).square().mean().backward()
            optimizer.step()
        return 2

    return train


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path]:
    torch.manual_seed(1)
    kind, path = made("regressor"), tmp_path_factory.mktemp("task") / "run"
    kind = replace(kind, task=replace(kind.task, train=taught(kind)))
    gaprune.search(kind.network, task=kind.task, population=6, generations=2, output=path, **HERE)
    return kind, path


@pytest.fixture
def again(searched: tuple[Kind, Path], tmp_path: Path) -> Callable[..., gaprune.SearchResult]:
    """Goes on with a copy of a finished search."""
    kind, source = searched

    def go_on(train: Train | None = kind.task.train, **options: Any) -> gaprune.SearchResult:
        path = tmp_path / "run"
        if not path.exists():
            shutil.copytree(source, path)
        return gaprune.search(kind.network, task=replace(kind.task, train=train), resume=path, **{**HERE, **options})

    return go_on


def left_by(result: gaprune.SearchResult) -> dict[str, Any]:
    """Networks, and what the trainings of members gave."""
    found: dict[str, Any] = {file.name: file.read_bytes() for file in result.path.glob("front.csv")}
    for row in result.rows:
        found[row.home] = [one | {"seconds": 0} for one in trainings(result.path / row.home)]
        found[row.path] = (result.path / row.path / "model.safetensors").read_bytes()
    return found


def test_a_regressor_gets_better_and_the_score_says_what_is_handed_out(
    searched: tuple[Kind, Path], again: Callable[..., gaprune.SearchResult]
) -> None:
    kind, _ = searched
    before = {row.home: row for row in again().rows}
    listener = Listener()
    result = again(recover="2s", reporter=listener)
    assert any("2 calls of task.train each" in line for line in listener.lines)
    better = [row for row in result.rows if row.trained_epochs]
    assert better
    for row in result.rows:
        old = before[row.home].search_accuracy
        lost = -old >= timed_by_task.ENOUGH * -min(one.search_accuracy for one in before.values())
        assert len(trainings(result.path / row.home)) <= lost
        assert row.search_accuracy >= old
        assert bool(row.trained_epochs) == (row.search_accuracy > old)
    errors = [(before[row.home].search_accuracy, row.search_accuracy) for row in better]
    assert min(new / old for old, new in errors) < 0.5  # the mean square error of one of them, halved at least
    for row in better:
        assert row.trained_epochs == 4
        network = gaprune.load(result.path / row.path, model=kind.network)
        assert judge(network, kind.task.score) == pytest.approx(row.search_accuracy, rel=1e-4)
        assert "by task.train for about 2 s (--recover)" in (result.path / row.path / "README.md").read_text()


def test_stopped_in_a_training_it_goes_on_and_ends_like_one_that_was_not(
    searched: tuple[Kind, Path], again: Callable[..., gaprune.SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = again(recover=2)
    content = left_by(whole)
    assert sum(bool(trainings(whole.path / row.home)) for row in whole.rows) > 1
    shutil.rmtree(whole.path)
    real, calls = TaskTuner._by_caller, list[str]()

    def stopping(self: TaskTuner, network: nn.Module, kernels: Any, name: str) -> int:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, network, kernels, name)

    with monkeypatch.context() as patch:
        patch.setattr(TaskTuner, "_by_caller", stopping)
        with pytest.raises(KeyboardInterrupt, match=r"go on with: gaprune\.search"):
            again(recover=2)
        monkeypatch.setattr(TaskTuner, "timed", lambda *_: 0.1)  # a fast day: how often it is called is settled
        assert left_by(again()) == content
    assert calls.count(calls[0]) == 1
    assert calls.count(calls[1]) == 2


def test_done_once_it_is_not_done_again_and_more_calls_are_another_training(
    again: Callable[..., gaprune.SearchResult],
) -> None:
    first = again(recover=2)
    count = {row.home: len(trainings(first.path / row.home)) for row in first.rows}
    assert again(recover=2).rows == first.rows
    longer = again(recover=3)
    assert {row.home: len(trainings(longer.path / row.home)) for row in longer.rows} == {
        home: 2 * number for home, number in count.items()
    }
    manifest = json.loads((longer.path / "manifest.json").read_text())
    assert manifest["recover"] == {"seconds": 3, "calls": 3}


def test_how_long_a_call_takes_is_measured(
    again: Callable[..., gaprune.SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    result = again(recover=1e-6)
    assert json.loads((result.path / "manifest.json").read_text())["recover"]["calls"] == 1
    assert any(trainings(result.path / row.home) for row in result.rows)


def test_in_a_search_from_its_beginning_it_is_the_same_and_where_nothing_was_lost_nothing_is_trained(
    searched: tuple[Kind, Path],
    again: Callable[..., gaprune.SearchResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, _ = searched
    options = {"population": 6, "generations": 2, "output": tmp_path / "new", **HERE}
    new = gaprune.search(kind.network, task=kind.task, recover=2, **options)
    assert left_by(new) == left_by(again(recover=2))
    monkeypatch.setattr(timed_by_task, "ENOUGH", 5.0)
    shutil.rmtree(tmp_path / "run")
    listener = Listener()
    rows = again(recover=2, reporter=listener).rows
    assert not any(row.trained_epochs for row in rows)
    assert "recover: no member loses 500% or more of what there is to lose of the score" in listener.lines


def raises(network: nn.Module) -> None:
    raise ValueError("no data\nand more")


def breaks(network: nn.Module) -> None:
    with torch.no_grad():
        network.get_parameter("both.weight").fill_(float("nan"))


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        (raises, TrainingError, "task.train fails: ValueError: no data"),
        (breaks, TrainingError, "after task.train both.weight is not finite: choose a lower learning rate"),
        (None, OptionError, "recover needs task.train, a function that trains a network in place: give one"),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_front_stays(
    again: Callable[..., gaprune.SearchResult], train: Train | None, error: type[GapruneError], message: str
) -> None:
    rows = again().rows
    with pytest.raises(error, match=message) as raised:
        again(train, recover=2)
    assert "\n" not in str(raised.value)
    assert again(recover=2).rows != rows


def test_a_task_without_training_is_refused_before_anything_slow(tmp_path: Path) -> None:
    kind = made("pair")
    with pytest.raises(OptionError, match=r"recover needs task\.train"):
        gaprune.search(kind.network, task=kind.task, recover="5s", output=tmp_path / "run", **HERE)
    assert not (tmp_path / "run").exists()
