"""Members of a search by a task as files: any inputs and outputs, the numbers of the network, or nothing is written."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from tiny_tasks import KINDS, Kind, made
from torch import Tensor, nn

import gaprune
from gaprune.errors import GapruneError, MethodError
from gaprune.progress import SILENT
from gaprune.prune import Inputs, tensors_in
from gaprune.shipping import by_task

HERE: dict[str, Any] = {"threads": 1, "reporter": SILENT}

NAMES = {
    "segmenter": (("input",), ("out",)),
    "regressor": (("left", "right"), ("output",)),
    "detector": (("input",), ("classes", "boxes")),
    "pair": (("x",), ("output_0", "output_1_0")),
    "text classifier": (("input_ids", "attention_mask"), ("logits",)),
}
"""By kind of network what its file takes and gives."""


def searched(kind: Kind, path: Path) -> gaprune.SearchResult:
    return gaprune.search(kind.network, task=kind.task, population=4, generations=1, output=path, device="cpu", **HERE)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Kind, gaprune.SearchResult]]:
    home = tmp_path_factory.mktemp("runs")
    kinds = {name: made(name) for name in KINDS}
    return {name: (kind, searched(kind, home / name.replace(" ", "-"))) for name, kind in kinds.items()}


def small(kind: Kind, result: gaprune.SearchResult) -> tuple[str, nn.Module]:
    """The rule for a member that is really smaller, and its network."""
    row = gaprune.pick(result.rows, "flops<=0.6")
    assert row.flops_share < 0.6
    return "flops<=0.6", result.load(row)


def given(batch: Any, count: int) -> Inputs:
    return Inputs.of(batch, "batch").first(count)


@pytest.mark.parametrize("name", KINDS)
def test_an_onnx_file_gives_the_networks_numbers_for_any_number_of_samples(
    runs: Any, name: str, tmp_path: Path
) -> None:
    kind, result = runs[name]
    rule, network = small(kind, result)
    done = gaprune.export(
        result.path, model=kind.network, task=kind.task, pick=rule, output=tmp_path / "member.onnx", **HERE
    )
    inputs, outputs = NAMES[name]
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == list(inputs)
    assert [entry.name for entry in session.get_outputs()] == list(outputs)
    for count in (1, 3, 20):
        batch = given(kind.task.inputs, count)
        fed = {word: one.numpy() for word, one in zip(inputs, batch.tensors(), strict=True)}
        with torch.no_grad():
            wanted = tensors_in(batch(network))
        for one, other in zip(wanted, session.run(None, fed), strict=True):
            assert torch.allclose(one, torch.from_numpy(other), atol=1e-5)
    assert done.check.samples == sum(map(len, kind.task.batches))  # type: ignore[union-attr]
    told = {entry.key: entry.value for entry in onnx.load(done.path).metadata_props}
    assert [one["name"] for one in json.loads(told["inputs"])] == list(inputs)
    assert told["score"] == kind.task.name


@pytest.mark.parametrize("name", KINDS)
def test_a_pt2_file_is_called_as_the_network_is(runs: Any, name: str, tmp_path: Path) -> None:
    kind, result = runs[name]
    rule, network = small(kind, result)
    path = tmp_path / "member.pt2"
    gaprune.export(result.path, model=kind.network, task=kind.task, pick=rule, format="pt2", output=path, **HERE)
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    batch = given(kind.task.inputs, 5)
    with torch.no_grad():
        found = program(*batch.tensors()) if name == "detector" else batch(program)  # whose class nobody knows
        wanted = tensors_in(batch(network))
    for one, other in zip(wanted, tensors_in(found), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_weights_alone_are_the_members(runs: Any, tmp_path: Path) -> None:
    kind, result = runs["detector"]
    rule, network = small(kind, result)
    path = tmp_path / "member.safetensors"
    gaprune.export(result.path, model=kind.network, task=kind.task, pick=rule, format="state-dict", output=path, **HERE)
    tensors = load_file(path)
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[key], value) for key, value in network.state_dict().items())


class Reader(nn.Module):
    """Reads texts of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.embed(ids))).mean(1))  # type: ignore[no-any-return]


def test_axes_that_differ_among_batches_are_of_any_length(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Reader().eval()
    batches = [torch.randint(20, (6, length)) for length in (4, 9)]
    task = gaprune.Task(batches[0], batches, lambda net: -float(net(batches[1]).square().mean()))
    result = searched(Kind(network, task), tmp_path / "run")
    done = gaprune.export(result.path, model=network, task=task, pick="flops<=0.9", **HERE)
    assert done.metadata["inputs"] == [{"name": "input", "type": "int64", "shape": ["batch", "any"]}]
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    ids = torch.randint(20, (2, 15))
    with torch.no_grad():
        wanted = result.load(gaprune.pick(result.rows, "flops<=0.9"))(ids)
    (found,) = session.run(None, {"input": ids.numpy()})
    assert torch.allclose(wanted, torch.from_numpy(found), atol=1e-5)


def test_a_file_with_other_numbers_is_not_written(runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, result = runs["detector"]
    loaded = by_task._loaded

    def worse(*arguments: Any) -> by_task.Answer:
        inner = loaded(*arguments)
        return lambda batch: [one * 1.1 for one in inner(batch)]

    monkeypatch.setattr(by_task, "_loaded", worse)
    path = tmp_path / "member.onnx"
    with pytest.raises(MethodError, match=r"answers otherwise than the network: classes, .*nothing was written"):
        gaprune.export(result.path, model=kind.network, task=kind.task, output=path, **HERE)
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int8"}, "quantize has no meaning with a task of your own: nobody but your score"),
        ({"with_preprocessing": True}, "with_preprocessing has no meaning with a task of your own"),
        ({"data_dir": "photographs"}, "data_dir has no meaning with a task of your own"),
        ({"task": None, "model": None}, "was given its model and task as objects: go on with gaprune.export"),
        ({"task": None}, "was given its task as objects"),
        ({"task": "segment"}, r"task must be a gaprune.Task\(inputs, calibration, score\), got a str"),
    ],
)
def test_what_says_nothing_is_refused(runs: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    kind, result = runs["segmenter"]
    path = tmp_path / "member.onnx"
    with pytest.raises(GapruneError, match=message) as raised:
        gaprune.export(result.path, **{"model": kind.network, "task": kind.task, "output": path, **HERE, **options})
    assert "\n" not in str(raised.value)
    assert not path.exists()


def test_a_network_that_gives_nothing_is_one_line(runs: Any) -> None:
    kind, result = runs["pair"]
    silent = replace(kind.task, inputs=kind.task.inputs)
    subject = by_task.Subject(Quiet(), "quiet", result.path, {}, kind.task.example, (), (), ())
    with pytest.raises(MethodError, match="the network gives no tensor"):
        by_task.make_task_file(subject, "onnx", silent)


class Quiet(nn.Module):
    def forward(self, x: Tensor, scale: float = 1.0) -> None:
        return
