"""Members of a search by a task, trained by ``task.train``: better ones are handed out, nothing else is believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resealing import resealed
from tiny_tasks import Kind, made
from torch import Tensor, nn

import gaprune
from gaprune.errors import GapruneError, OptionError, TrainingError
from gaprune.front import trainings
from gaprune.progress import SILENT
from gaprune.recovery.by_task import code_of

HERE: dict[str, Any] = {"device": "cpu", "threads": 1, "reporter": SILENT}


def taught(kind: Kind, steps: int = 20) -> Callable[[nn.Module], int]:
    """Trains a small detector towards the original's answers."""
    pictures = torch.randn((16, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = kind.network(pictures)
    targets = found.classes.argmax(1), found.boxes

    def train(network: nn.Module) -> int:
        assert network.training
        optimizer = torch.optim.AdamW(network.parameters(), 0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            loss: Tensor = network.loss(pictures, *targets)  # type: ignore[operator]
            loss.backward()
            optimizer.step()
        return 3

    return train


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kind, Path]:
    kind, path = made("detector"), tmp_path_factory.mktemp("task") / "run"
    gaprune.search(kind.network, task=kind.task, genes="both", population=6, generations=2, output=path, **HERE)
    return kind, path


@pytest.fixture
def run(searched: tuple[Kind, Path], tmp_path: Path) -> tuple[Kind, Path]:
    return searched[0], Path(shutil.copytree(searched[1], tmp_path / "run"))


def test_the_score_says_which_network_is_handed_out(run: tuple[Kind, Path]) -> None:
    kind, path = run
    task = replace(kind.task, train=taught(kind))
    before = {row.key: row for row in gaprune.Run(path).rows}
    result = gaprune.finetune(path, model=kind.network, task=task, pick="all", **HERE)
    better = [row for row in result.rows if row.trained_epochs]
    assert better
    for row in better:
        assert row.trained_epochs == 3
        assert row.search_accuracy > before[row.key].search_accuracy
        network = gaprune.load(path / row.path, model=kind.network)
        with torch.no_grad():
            assert float(task.score(network)) == pytest.approx(row.search_accuracy)
    assert "fine-tuned by task.train" in (path / better[0].path / "README.md").read_text()


def test_kernels_that_are_gone_stay_gone(run: tuple[Kind, Path]) -> None:
    kind, path = run

    def disturbed(network: nn.Module) -> None:
        taught(kind)(network)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1e-3)  # without a gradient, which a hook would not see

    result = gaprune.finetune(path, model=kind.network, task=replace(kind.task, train=disturbed), pick="all", **HERE)
    seen = 0
    for row in result.rows:
        if not row.trained_epochs:
            continue
        plain, trained = (gaprune.load(path / place, model=kind.network) for place in (row.home, row.path))
        for name in ("stem.weight", "body.weight"):
            gone = plain.get_parameter(name).abs().amax(dim=(2, 3)) == 0
            seen += int(gone.sum())
            assert not trained.get_parameter(name)[gone].any()
    assert seen > 0


def test_a_member_is_trained_by_a_function_once(run: tuple[Kind, Path]) -> None:
    kind, path = run
    calls: list[int] = []
    inner = taught(kind, steps=2)

    def train(network: nn.Module) -> int:
        calls.append(1)
        return inner(network)

    task = replace(kind.task, train=train)
    for _ in range(2):
        gaprune.finetune(path, model=kind.network, task=task, pick="0", **HERE)
    assert len(calls) == 1
    gaprune.finetune(path, model=kind.network, task=replace(task, train=inner), pick="0", **HERE)
    gaprune.finetune(path, model=kind.network, task=task, pick="0", seed=1, **HERE)
    assert len(calls) == 2
    assert len(trainings(path / gaprune.Run(path).rows[0].home)) == 3


def test_a_training_draws_the_same_random_numbers_each_time(run: tuple[Kind, Path], tmp_path: Path) -> None:
    kind, path = run
    again = Path(shutil.copytree(path, tmp_path / "again"))

    def train(network: nn.Module) -> None:
        taught(kind)(network)
        with torch.no_grad():
            next(network.parameters()).add_(1e-3 * torch.randn(()))

    scores = []
    for where in (path, again):
        torch.rand(7)
        state = torch.get_rng_state()
        found = gaprune.finetune(where, model=kind.network, task=replace(kind.task, train=train), pick="0", **HERE)
        scores.append(trainings(where / found.rows[0].home)[-1]["search_accuracy"])
        assert torch.equal(torch.get_rng_state(), state)
    assert scores[0] == scores[1]


def raises(network: nn.Module) -> None:
    raise ValueError("no data\nand more")


def widens(network: nn.Module) -> None:
    network.get_submodule("body").weight = nn.Parameter(torch.ones(3, 3, 3, 3))


def halves(network: nn.Module) -> None:
    network.half()


def breaks(network: nn.Module) -> None:
    with torch.no_grad():
        network.get_parameter("body.weight").fill_(float("nan"))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (raises, "member 0: task.train fails: ValueError: no data"),
        (widens, r"member 0: task.train changes the network itself \(body.weight\): train its weights in place"),
        (halves, r"member 0: task.train changes the network itself"),
        (breaks, "member 0: after task.train body.weight is not finite: choose a lower learning rate"),
    ],
)
def test_what_goes_wrong_is_one_line_and_changes_nothing(
    run: tuple[Kind, Path], train: Callable[[nn.Module], Any], message: str
) -> None:
    kind, path = run
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(TrainingError, match=message) as raised:
        gaprune.finetune(path, model=kind.network, task=replace(kind.task, train=train), pick="0", **HERE)
    assert "\n" not in str(raised.value)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3}, "epochs has no meaning with a task of your own: task.train knows how it trains"),
        ({"shared": True}, "shared has no meaning with a task of your own"),
        ({"data_dir": "photographs"}, "data_dir has no meaning with a task of your own"),
        ({"task": None}, "was given its task as objects: go on with gaprune.finetune"),
        ({"task": 3}, r"task must be a gaprune.Task\(inputs, calibration, score\), got a int"),
        ({"model": None}, "model must be a network, a torch.nn.Module, with a task of your own"),
    ],
)
def test_what_says_nothing_is_refused(run: tuple[Kind, Path], options: dict[str, Any], message: str) -> None:
    kind, path = run
    given = {"model": kind.network, "task": replace(kind.task, train=raises), **HERE, **options}
    with pytest.raises(OptionError, match=message):
        gaprune.finetune(path, **given)


def test_a_task_without_training_is_refused(run: tuple[Kind, Path], tmp_path: Path) -> None:
    kind, path = run
    with pytest.raises(OptionError, match=r"finetune needs task\.train, a function that trains a network in place"):
        gaprune.finetune(path, model=kind.network, task=kind.task, **HERE)
    with pytest.raises(OptionError, match=r"task\.train must be a function, got 3"):
        replace(kind.task, train=3)  # type: ignore[arg-type]


def test_what_the_task_says_afterwards_must_be_a_number(run: tuple[Kind, Path]) -> None:
    kind, path = run
    trained: list[int] = []

    def train(network: nn.Module) -> None:
        trained.append(1)

    def score(network: nn.Module) -> float:
        if trained:
            raise OSError("the labels are gone")
        return float(kind.task.score(network))

    task = replace(kind.task, train=train, score=score)
    with pytest.raises(
        TrainingError, match="the task cannot judge it after its training: OSError: the labels are gone"
    ):
        gaprune.finetune(path, model=kind.network, task=task, pick="0", **HERE)
    trained.clear()
    task = replace(task, score=lambda net: float("nan") if trained else kind.task.score(net))
    with pytest.raises(TrainingError, match=r"after task\.train the task gives nan, expected a finite number"):
        gaprune.finetune(path, model=kind.network, task=task, pick="0", **HERE)


def test_a_run_on_data_takes_no_task(run: tuple[Kind, Path], tmp_path: Path) -> None:
    kind, path = run
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["task"], manifest["objects"]["task"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    resealed(path)
    with pytest.raises(GapruneError, match="was searched on data, not by a task: leave task out"):
        gaprune.finetune(path, model=kind.network, task=replace(kind.task, train=raises), **HERE)


def test_functions_are_told_apart_by_their_code() -> None:
    def of(number: int) -> Callable[[nn.Module], Any]:
        return lambda network: number * np.ones(2)

    assert code_of(of(1)) == code_of(of(2))  # what a closure holds is not looked at
    assert code_of(lambda network: 1) != code_of(lambda network: 2)
    assert code_of(raises) != code_of(breaks)
    short, long = of(1), of(2)
    assert code_of(lambda network: short(network)) != code_of(lambda network: long(network))
    assert code_of(partial(raises, 1)) != code_of(partial(raises, 2))
    assert code_of(Trains()) != code_of(Other())


class Trains:
    def __call__(self, network: nn.Module) -> None:
        network.train()


class Other:
    def __call__(self, network: nn.Module) -> None:
        network.eval()
