"""What cannot be a task, and what a search by one cannot do: one line each, before anything slow, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tasks import made
from torch import Tensor, nn

import gaprune
from gaprune.errors import DataError, GapruneError, ModelError, OptionError
from gaprune.options import SearchOptions
from gaprune.progress import SILENT
from gaprune.session import Own, check_task

SMALL: dict[str, Any] = {"population": 4, "generations": 2, "device": "cpu", "threads": 1, "reporter": SILENT}
X = torch.ones(4, 3)


def refused(network: Any, task: Any, path: Path, **options: Any) -> str:
    with pytest.raises(GapruneError) as raised:
        gaprune.search(network, task=task, output=path / "run", **{**SMALL, **options})
    assert not (path / "run").exists()
    line = str(raised.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": "text"}, OptionError, "task.inputs must be a tensor, a tuple of arguments or a dict .*, got str"),
        ({"inputs": {"n": 3}}, OptionError, "task.inputs holds no tensor"),
        (
            {"inputs": (X, X[:2])},
            OptionError,
            r"must count its samples, got shapes \(4, 3\), \(2",
        ),
        ({"inputs": (X, torch.tensor(1.0))}, OptionError, "first axis of every tensor"),
        ({"score": 0.5}, OptionError, "task.score must be a function, got 0.5"),
        ({"name": " "}, OptionError, "task.name must be a text"),
        ({"test": 1}, OptionError, "task.test must be a function, got 1"),
        ({"divergence": "kl"}, OptionError, "task.divergence must be a function, got 'kl'"),
        ({"calibration": X}, OptionError, "task.calibration must be a list of batches, got Tensor"),
        ({"calibration": []}, DataError, "task.calibration holds no batch"),
        ({"calibration": [X, X[:1]]}, OptionError, r"task.calibration\[1\] must hold 2 samples or more, got 1"),
        ({"calibration": [X, None]}, OptionError, r"task.calibration\[1\] must be a tensor, .* got NoneType"),
    ],
)
def test_what_is_no_task_is_refused(changes: dict[str, Any], error: type[GapruneError], message: str) -> None:
    given = {"inputs": X, "calibration": [X], "score": lambda net: 0.0, **changes}
    with pytest.raises(error, match=message):
        assert gaprune.Task(**given).batches


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polish": True}, "polish is not there for a task of your own yet"),
        ({"racing": 0.95}, "racing is not there"),
        ({"iterations": 2}, "iterations is not there"),
        ({"algorithm": "rounds"}, "algorithm='rounds' is not there"),
        ({"min_accuracy": 0.5}, "min_accuracy is not there"),
        ({"importance": "taylor"}, "importance='taylor' is not there"),
        ({"fitness": "loss"}, "fitness='loss' is not there"),
        ({"fitness": "divergence"}, "divergence needs task.divergence"),
        ({"objectives": ["divergence", "flops"]}, "divergence needs task.divergence"),
        ({"objectives": ["accuracy", "flops"]}, "objective 'accuracy' .*: choose of score, divergence, flops, params"),
        ({"objectives": ["score", "robustness"]}, "objective 'robustness' is not there"),
        ({"pick": "accuracy>=0.9"}, "pick='accuracy>=0.9' is not there"),
        ({"max_latency": "5ms"}, "max_latency has no meaning with a task of your own: latency is measured on images"),
        ({"latency_runtime": "torch"}, "latency_runtime has no meaning"),
        ({"batch_size": 8}, "batch_size has no meaning with a task of your own: the task brings its own data"),
        ({"calibration_size": 8}, "calibration_size has no meaning .* all of task.calibration is used"),
        ({"mean": 0.5, "std": 0.5}, "mean has no meaning"),
        ({"checkpoint": "a.safetensors"}, "checkpoint has no meaning"),
        ({"tested": "all"}, "tested has no meaning"),
        ({"max_flops": 1e-9}, "no network can be so small"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    kind = made("pair")
    given = {**SMALL, **options}
    if "algorithm" in options:
        del given["generations"]
    with pytest.raises(OptionError, match=message):
        gaprune.search(kind.network, task=kind.task, output=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_search_of_texts_says_what_trains_its_members() -> None:
    with pytest.raises(OptionError, match="recover is not there for a search of texts yet: search first, then"):
        check_task(SearchOptions.of(recover=5.0), Own())


def test_task_and_network_must_be_of_their_kinds(tmp_path: Path) -> None:
    kind = made("pair")
    assert "task must be a gaprune.Task(inputs, calibration, score), got a dict" in refused(kind.network, {}, tmp_path)
    assert "got the class Task" in refused(kind.network, gaprune.Task, tmp_path)
    assert "model must be a network, a torch.nn.Module" in refused("resnet18", kind.task, tmp_path)
    with pytest.raises(OptionError, match="data has no meaning with a task of your own"):
        gaprune.search(kind.network, "digits", task=kind.task)
    with pytest.raises(OptionError, match="data must be"):
        gaprune.search(kind.network)


def _changes(net: nn.Module) -> float:
    with torch.no_grad():
        next(net.parameters()).add_(1.0)
    return 0.0


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda net: net.nothing, "task.score fails on the original: AttributeError: 'Pair' object has no attribute"),
        (lambda net: float("nan"), "task.score gives nan for the original, expected a finite number"),
        (lambda net: "good", "task.score fails on the original: TypeError: expected a number, got str"),
        (lambda net: torch.ones(3), "task.score fails on the original: TypeError: expected a number, got Tensor"),
        (_changes, "task.score changes the network that it scores"),
    ],
)
def test_a_score_that_is_none_is_told_at_once(score: Callable[[nn.Module], Any], message: str, tmp_path: Path) -> None:
    kind = made("pair")
    before = {key: tensor.clone() for key, tensor in kind.network.state_dict().items()}
    assert message in refused(kind.network, replace(kind.task, score=score), tmp_path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in kind.network.state_dict().items())


class Odd(nn.Module):
    """A network that does something odd with its input."""

    def __init__(self, odd: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.odd, self.first, self.second = odd, nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.odd(self, x)


def _plain(net: Any, x: Tensor) -> Tensor:
    found: Tensor = net.second(torch.relu(net.first(x)))
    return found


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (lambda net, x: net.first(x[:, :2]), r"Odd cannot take task.inputs \(2x3\): mat1 and mat2"),
        (lambda net, x: "done", "Odd gives str, expected a floating tensor, or a tuple, list, dict or data class"),
        (lambda net, x: {"class": _plain(net, x).argmax(1)}, "Odd gives dict with class, expected a floating tensor"),
        (lambda net, x: _plain(net, x) / 0 * 0, "Odd gives NaN for the task's inputs"),
        (lambda net, x: _plain(net, x + torch.rand_like(x)), "Odd gives other outputs for the same images each time"),
        (
            lambda net, x: _plain(net, x) if len(x) > 1 else net.none,
            r"cannot take one sample of task.inputs \(1x3\)",
        ),
        (lambda net, x: _plain(net, x) if float(x.sum()) else 1, "Odd cannot be traced on inputs of 2x3"),
    ],
)
def test_a_network_that_cannot_be_used_is_told_at_once(odd: Any, message: str, tmp_path: Path) -> None:
    task = gaprune.Task(X, [X], lambda net: 1.0)
    with pytest.raises(ModelError, match=message):
        gaprune.search(Odd(odd).eval(), task=task, output=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_batches_with_targets_are_told(tmp_path: Path) -> None:
    kind = made("detector")
    x = kind.task.inputs
    line = refused(kind.network, replace(kind.task, calibration=[(x, x)]), tmp_path)
    assert "Detector cannot take task.calibration[0] (2x3x8x8, 2x3x8x8)" in line
    assert "without targets" in line


def test_what_stays_whole_is_one_warning_with_layer_and_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Odd(lambda net, x: (_plain(net, x), net.last(torch.sort(net.other(x), 1).values))).eval()
    network.other, network.last = nn.Linear(3, 5), nn.Linear(5, 2)  # type: ignore[assignment]
    task = gaprune.Task(torch.randn(4, 3), [torch.randn(8, 3)], lambda net: float(net(X)[0].sum()))
    gaprune.search(network, task=task, output=tmp_path / "run", **SMALL)
    told = [record.getMessage() for record in caplog.records if "left unpruned" in record.getMessage()]
    assert len(told) == 1
    assert "left unpruned: other: aten.sort.default is not understood" in told[0]


def test_a_network_that_writes_to_its_inputs_is_given_copies(tmp_path: Path) -> None:
    def add(net: nn.Module, x: Tensor) -> Tensor:
        return _plain(net, x.add_(1.0))

    x = torch.randn(8, 3)
    before = x.clone()
    task = gaprune.Task(x, [x], lambda net: float(net(x.clone()).sum()))
    gaprune.search(Odd(add).eval(), task=task, output=tmp_path / "run", **SMALL)
    assert torch.equal(x, before)
