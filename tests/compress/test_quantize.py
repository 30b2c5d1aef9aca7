from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tiny_works import accuracy, logits, saved_bytes
from torch import nn

from gaprune.compress import OnnxRunner, Session, Work, parse_chain
from gaprune.compress.images import ImageTask
from gaprune.compress.quantize import Quantize
from gaprune.compress.storage import load_work, save_work
from gaprune.errors import MethodError
from gaprune.runtimes.onnx_files import check_varying

pytest.importorskip("onnxruntime")


@pytest.fixture
def wide(task: ImageTask) -> Work:
    """Layers so large that weights are most of a file."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 512),
        nn.ReLU(),
        nn.Linear(512, 3),
    )
    return Work.of(network, task, task.base())


def test_everything_in_8_bits_keeps_the_answers_and_a_quarter_of_the_bytes(wide: Work, tmp_path: Path) -> None:
    quantized = Quantize().apply(wide, Session())
    before, after = logits(wide), logits(quantized)
    assert float((before - after).abs().max()) < 0.05 * float(before.abs().max())
    plain = saved_bytes(parse_chain("onnx").methods[0].apply(wide, Session()), tmp_path / "onnx")
    assert saved_bytes(quantized, tmp_path / "quantized") < 0.32 * plain


def test_linear_layers_only_leave_convolutions_in_float(wide: Work, tmp_path: Path) -> None:
    quantized = Quantize(["linear"]).apply(wide, Session())
    operators = quantized.steps[-1].report["quantized operators"]
    assert operators["Conv"] == 2
    assert operators["MatMulInteger"] == 2
    assert not {"QLinearConv", "ConvInteger"} & set(operators)
    linear = 64 * 512 + 512 * 3
    plain = 4 * wide.params
    assert saved_bytes(quantized, tmp_path / "quantized") == pytest.approx(plain - 3 * linear, abs=8_000)


class Words(nn.Module):
    """A classifier of ids, as texts have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(2000, 32)
        self.hidden = nn.Linear(32, 256)
        self.head = nn.Linear(256, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.relu(self.hidden(self.embedding(ids).mean(1))))
        return logits


class WordTask(ImageTask):
    def inputs(self, count: int) -> tuple[torch.Tensor, ...]:
        return (torch.arange(count * 7).view(count, 7) % 2000,)

    def flops(self, model: nn.Module) -> int | None:
        return None


@pytest.fixture
def words(task: ImageTask) -> Work:
    values = vars(task) | {"input_names": ("ids",), "varying": {"ids": {1: "length"}}}
    torch.manual_seed(0)
    return Work.of(Words(), WordTask(**values), task.base())


@pytest.mark.parametrize(
    ("mode", "saved", "quantized"),
    [("linear", 32 * 256 + 256 * 2, "MatMulInteger"), ("embeddings", 2000 * 32, "DequantizeLinear")],
)
def test_a_mode_quantizes_its_layers_and_no_others(
    words: Work, tmp_path: Path, mode: str, saved: int, quantized: str
) -> None:
    made = Quantize([mode]).apply(words, Session())
    assert quantized in made.steps[-1].report["quantized operators"]
    assert saved_bytes(made, tmp_path) == pytest.approx(4 * words.params - 3 * saved, abs=6_000)


def test_inputs_of_any_length_and_number_are_taken(words: Work) -> None:
    predict = Quantize().apply(words, Session()).runner.predictor(torch.device("cpu"), 1)
    for shape in ((1, 3), (5, 11)):
        ids = torch.zeros(shape, dtype=torch.int64)
        assert predict((ids,)).shape == (shape[0], 2)


def test_an_axis_that_the_exporter_has_fixed_is_refused() -> None:
    onnx = pytest.importorskip("onnx")
    ids = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", 7])
    proto = onnx.helper.make_model(onnx.helper.make_graph([], "fixed", [ids], []))
    check_varying(proto, {"ids": {0}})
    with pytest.raises(MethodError, match="it takes ids of size 7 along axis 1 only, expected any size"):
        check_varying(proto, {"ids": {0, 1}})


def test_recurrent_networks_are_exported_time_and_again(words: Work) -> None:
    class InOrder(Words):
        def __init__(self) -> None:
            super().__init__()
            self.order = nn.LSTM(32, 32, batch_first=True)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(torch.relu(self.hidden(self.order(self.embedding(ids))[0][:, -1])))
            return logits

    for _ in range(2):
        made = Quantize().apply(Work.of(InOrder(), words.task, words.base), Session())
        predict = made.runner.predictor(torch.device("cpu"), 1)
        for texts, length in ((1, 3), (5, 11)):
            assert predict((torch.zeros((texts, length), dtype=torch.int64),)).shape == (texts, 2)


def test_a_saved_model_answers_the_same_when_loaded(original: Work, tmp_path: Path) -> None:
    before = copy.deepcopy(original.network.state_dict())
    made = Quantize().apply(original, Session())
    assert all(torch.equal(before[name], tensor) for name, tensor in original.network.state_dict().items())
    save_work(tmp_path / "made", made)
    loaded = load_work(tmp_path / "made", original.task)
    assert torch.equal(logits(loaded), logits(made))
    assert accuracy(loaded) >= accuracy(original) - 0.02
    assert (loaded.text, loaded.params, loaded.flops) == ("quantize", original.params, original.flops)


def test_onnx_models_are_not_run_on_gpus() -> None:
    with pytest.raises(MethodError, match="ONNX Runtime runs this model on cpu, not on cuda"):
        OnnxRunner(b"").predictor(torch.device("cuda"))


def test_a_missing_library_is_one_line(original: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime.quantization", None)
    with pytest.raises(
        MethodError, match=r'onnxruntime is needed and cannot be imported.*pip install "gaprune\[export\]"'
    ):
        Quantize().apply(original, Session())
