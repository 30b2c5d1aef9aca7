"""Quantized files mean the same on every processor: their products by hand, in integers that cannot saturate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gaprune.compress import OnnxRunner, Session, Work
from gaprune.compress.images import ImageTask
from gaprune.compress.quantize import Quantize
from gaprune.runtimes.int8 import LARGEST

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

INT16 = 32767
Tensors = dict[str, Any]


def file_of(network: nn.Module, task: ImageTask, *words: str) -> tuple[Work, Any, Tensors]:
    """A network quantized: the work, its nodes, and the tensors of its file by name."""
    made = Quantize(words).apply(Work.of(network, task, task.base()), Session())
    assert isinstance(made.runner, OnnxRunner)
    graph = onnx.load_from_string(made.runner.content).graph
    return made, graph.node, {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}


def signed(tensors: Tensors) -> dict[str, Any]:
    """The weights that are multiplied as signed bytes."""
    return {name: one for name, one in tensors.items() if one.dtype == np.int8 and not name.endswith("_zero_point")}


def the(nodes: Any, operator: str) -> Any:
    """The only node of an operator."""
    (found,) = [node for node in nodes if node.op_type == operator]
    return found


def as_avx2(unsigned: Any, weights: Any) -> Any:
    """(N, K) times (K, M) as processors without VNNI do it: two products at a time, added in 16 bits that saturate."""
    pairs = unsigned.astype(np.int32)[:, :, None] * weights.astype(np.int32)[None]
    if pairs.shape[1] % 2:
        pairs = np.pad(pairs, ((0, 0), (0, 1), (0, 0)))
    return np.clip(pairs[:, 0::2] + pairs[:, 1::2], -INT16 - 1, INT16).sum(1, dtype=np.int32)


@pytest.fixture
def steep() -> nn.Linear:
    """Weights of one sign, all large: the sums of their products are as large as can be."""
    layer = nn.Linear(3 * 8 * 8, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.9, 1.0, layer.weight.numel()).view_as(layer.weight))
        layer.weight[1::2] *= -1
    return layer


def test_dynamic_products_are_those_of_plain_integers(steep: nn.Linear, task: ImageTask) -> None:
    made, nodes, tensors = file_of(nn.Sequential(nn.Flatten(), steep), task, "linear")
    product = the(nodes, "MatMulInteger")
    weights = tensors[product.input[1]]
    scales = next(tensor for name, tensor in tensors.items() if name.endswith("_scale"))
    images = torch.linspace(3.0, 4.0, 5 * 192).view(5, 3, 8, 8)
    (found,) = (made.runner.predictor(torch.device("cpu"), 1)((images,)).numpy(),)

    x = images.flatten(1).numpy()
    scale = np.float32(max(x.max(), 0) - min(x.min(), 0)) / np.float32(255)
    whole = np.clip(np.rint(x / scale), 0, 255).astype(np.uint8)
    assert whole.max() == 255
    exact = whole.astype(np.int32) @ weights.astype(np.int32)
    assert np.array_equal(as_avx2(whole, weights), exact)
    np.testing.assert_allclose(found, exact * scale * scales + steep.bias.detach().numpy(), rtol=1e-4)
    float_answers = steep(images.flatten(1)).detach().numpy()
    np.testing.assert_allclose(found, float_answers, rtol=0.02)


def test_static_products_are_those_of_plain_integers(task: ImageTask) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.abs() + 0.2)
        layer.weight[1::2] *= -1
    made, nodes, tensors = file_of(nn.Sequential(layer), task)
    convolution = the(nodes, "Conv")
    by_output = {node.output[0]: node for node in nodes}
    given, kept, shift = (by_output[name] for name in convolution.input)
    weights, weight_scale = (tensors[name] for name in kept.input[:2])
    scale, zero = (tensors[name] for name in given.input[1:3])
    (images,) = task.inputs(6)
    found = made.runner.predictor(torch.device("cpu"), 1)((images,))

    whole = np.clip(np.rint(images.numpy() / scale) + zero, 0, 255).astype(np.uint8)
    padded = np.pad(whole, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero)
    rows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3)).transpose(0, 2, 3, 1, 4, 5).reshape(-1, 27)
    matrix = weights.reshape(4, 27).T
    sums = rows.astype(np.int32) @ matrix.astype(np.int32)
    assert np.array_equal(as_avx2(rows, matrix), sums)
    sums = sums - int(zero) * matrix.astype(np.int32).sum(0) + tensors[shift.input[0]]
    exact = (sums * scale * weight_scale).reshape(6, 8, 8, 4).transpose(0, 3, 1, 2)
    step = tensors[by_output["logits"].input[1]]
    inside = torch.as_tensor(exact.clip(found.numpy().min(), found.numpy().max()))
    assert float((found - inside).abs().max()) <= 0.51 * float(step)


def test_no_two_products_of_full_bytes_saturate_sixteen_bits() -> None:
    assert 2 * 255 * LARGEST <= INT16 < 2 * 255 * (LARGEST + 1)


class Recurrent(nn.Module):
    """An LSTM and a linear layer over the columns of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(24, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.lstm(x.flatten(1, 2).transpose(1, 2))[0][:, -1])
        return logits


NETWORKS = {
    "static": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)),
    "grouped": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 6, 1, groups=2), nn.Flatten()),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 3)),
    "recurrent": Recurrent,
}


class Unpriced(ImageTask):
    def flops(self, model: nn.Module) -> int | None:
        return None


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_that_is_multiplied_keeps_to_seven_bits(name: str, task: ImageTask) -> None:
    torch.manual_seed(0)
    _, _, tensors = file_of(NETWORKS[name](), Unpriced(**vars(task)))
    weights = signed(tensors)
    assert len(weights) == (3 if name == "recurrent" else 2)
    for tensor in weights.values():
        assert np.abs(tensor.astype(np.int32)).max() == LARGEST, "the range is used whole, and no further"
