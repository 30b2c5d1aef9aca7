"""Convolutions that pad by themselves are convolutions: their padding is found, and what it is not is told apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, SHAPE, STD, Net, image_set, pooled
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data.images import normalise
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.padding import is_linear, padding_sides
from gaprune.prune.compensate.patches import draw_positions, outputs_at, patches_at
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.compensate.statistics import collect, consumers
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph


class Static(nn.Conv2d):
    """Pads as told, as networks from TensorFlow do."""

    def __init__(self, *sizes: int, sides: tuple[int, int, int, int], **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, self.sides), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Dynamic(nn.Conv2d):
    """Pads to ceil(size / stride) positions: at stride 2 otherwise for even sizes than for odd ones."""

    def forward(self, x: Tensor) -> Tensor:
        size, stride, kernel = x.shape[2], self.stride[0], self.kernel_size[0]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides = (total // 2, total - total // 2) * 2
        return F.conv2d(F.pad(x, sides), self.weight, self.bias, self.stride, 0, 1, self.groups)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Failing(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("only for two streams")


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Renamed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


@pytest.mark.parametrize(
    ("module", "sides"),
    [
        (nn.Conv2d(4, 6, 3, padding=(1, 2)), (2, 2, 1, 1)),
        (nn.Conv2d(4, 6, 4, padding="same"), (1, 2, 1, 2)),
        (Static(4, 6, 1, sides=(0, 0, 0, 0), bias=False), (0, 0, 0, 0)),
        (Static(4, 6, 3, sides=(0, 1, 0, 1), stride=2), (0, 1, 0, 1)),
        (Static(4, 6, 3, sides=(1, 1, 1, 1)), (1, 1, 1, 1)),
        (Static(4, 4, 5, sides=(1, 2, 1, 2), stride=2, groups=4), (1, 2, 1, 2)),
        (Static(4, 6, 3, sides=(2, 2, 2, 2), dilation=2), (2, 2, 2, 2)),
        (Static(4, 6, 3, sides=(1, 0, 1, 0)), (1, 0, 1, 0)),
        (Dynamic(4, 6, 3), (1, 1, 1, 1)),
        (Dynamic(4, 6, 1, stride=2), (0, 0, 0, 0)),
        (Dynamic(4, 6, 3, stride=2), None),
        (Standardised(4, 6, 3), None),
        (Failing(4, 6, 3), None),
    ],
)
def test_the_padding_of_a_forward_pass_is_found(module: nn.Conv2d, sides: tuple[int, ...] | None) -> None:
    assert padding_sides(module) == sides


def test_patches_of_an_own_padding_give_the_outputs() -> None:
    module = Static(4, 6, 3, sides=(0, 1, 1, 0), stride=2)
    x = torch.randn(5, 4, 8, 8)
    positions = draw_positions(module, x, 7, torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = outputs_at(module, module(x), positions)
        assert module.bias is not None
        found = patches_at(module, x, positions) @ module.weight.flatten(1).T + module.bias
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("module", "right"), [(nn.Linear(3, 2), True), (Renamed(3, 2), True), (Scaled(3, 2), False)])
def test_linear_layers_are_told_apart(module: nn.Linear, right: bool) -> None:
    assert is_linear(module) is right


def inverted() -> nn.Module:
    """An expansion, a depthwise and a projecting convolution that all pad by themselves."""
    return Net(
        lambda s, x: pooled(s, s.norm3(s.project(F.relu6(s.norm2(s.depth(F.relu6(s.norm1(s.expand(x))))))))),
        expand=Static(3, 12, 1, sides=(0, 0, 0, 0), bias=False),
        norm1=nn.BatchNorm2d(12),
        depth=Static(12, 12, 3, sides=(0, 1, 0, 1), stride=2, groups=12, bias=False),
        norm2=nn.BatchNorm2d(12),
        project=Static(12, 6, 1, sides=(0, 0, 0, 0), bias=False),
        norm3=nn.BatchNorm2d(6),
        head=nn.Linear(6, 3),
    )


def test_their_consumers_are_compensated_and_their_layers_polished() -> None:
    torch.manual_seed(0)
    model, images = inverted().eval(), image_set(100)
    graph = build_graph(model, SHAPE)
    assert set(consumers(model, graph)) == {"project.weight", "head.weight"}
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[[1, 4, 7, 8]] = False
    masks, x = Masks(neurons), normalise(images.images, MEAN, STD)
    compensated = Compensator(model, graph, collect(model, graph, images, MEAN, STD))(masks)
    cut, mended = Compactor(model, graph)(masks), Compactor(model, graph)(masks, compensated)
    polished = Compactor(model, graph)(masks, compensated)
    Polisher(model, graph, images, MEAN, STD)(polished, masks)
    with torch.no_grad():
        errors = [float((network(x) - model(x)).square().mean()) for network in (cut, mended, polished)]
    assert errors[1] < 0.8 * errors[0]
    assert errors[2] <= 1.01 * errors[1]
