"""A short training with the defaults makes no member worse, whatever its norms and layers are.

Networks are trained on the digits, pruned to half their widths, compensated, and trained for one epoch as
``gaprune.finetune`` does. Loss on held-out digits tells, which has far less noise than accuracy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import Net, conv
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import Splits, load_data, split
from gaprune.evaluate import measure
from gaprune.prune import Compactor, Compensator, Masks, Recalibrator, checked_graph, collect, restate_norms
from gaprune.prune.norms.recalibration import take_anchors
from gaprune.training import Distillation, Recipe, default_recipe, fit, gentler

TRAINED = Recipe(epochs=25, batch_size=32, lr=0.05, ema_decay=0.98, pad=2)
CPU = torch.device("cpu")
Make = Callable[[], nn.Module]


def plain() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, stride=2), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def residual() -> nn.Module:
    def run(s: Any, x: Tensor) -> Tensor:
        x = F.relu(s.norm0(s.stem(x)))
        x = F.relu(x + s.norm2(s.b(F.relu(s.norm1(s.a(x))))))
        return s.head(x.mean((2, 3)))  # type: ignore[no-any-return]

    return Net(
        run,
        stem=conv(3, 24, stride=2),
        norm0=nn.BatchNorm2d(24),
        a=conv(24, 32, stride=1),
        norm1=nn.BatchNorm2d(32),
        b=conv(32, 24),
        norm2=nn.BatchNorm2d(24),
        head=nn.Linear(24, 10),
    )


def inverted() -> nn.Module:
    """Depthwise, with the momentum and the epsilon of EfficientNet's norms."""

    def norm(width: int) -> nn.Module:
        return nn.BatchNorm2d(width, momentum=0.01, eps=1e-3)

    def run(s: Any, x: Tensor) -> Tensor:
        x = F.relu6(s.norm0(s.stem(x)))
        y = F.relu6(s.norm2(s.depth(F.relu6(s.norm1(s.expand(x))))))
        return s.head((x + s.norm3(s.project(y))).mean((2, 3)))  # type: ignore[no-any-return]

    return Net(
        run,
        stem=conv(3, 16, stride=2),
        norm0=norm(16),
        expand=conv(16, 48, 1),
        norm1=norm(48),
        depth=conv(48, 48, groups=48),
        norm2=norm(48),
        project=conv(48, 16, 1),
        norm3=norm(16),
        head=nn.Linear(16, 10),
    )


def layered() -> nn.Module:
    """Patches, layer norms and a hidden layer, as in ConvNeXt; no batch norm."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = s.stem(x).permute(0, 2, 3, 1)
        x = x + s.narrow(F.gelu(s.wide(s.norm1(x))))
        return s.head(s.norm2(x.mean((1, 2))))  # type: ignore[no-any-return]

    return Net(
        run,
        stem=conv(3, 32, 4, stride=4, padding=0),
        norm1=nn.LayerNorm(32),
        wide=nn.Linear(32, 96),
        narrow=nn.Linear(96, 32),
        norm2=nn.LayerNorm(32),
        head=nn.Linear(32, 10),
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Splits]:
    data = load_data("digits")
    return data, split(data, search_from="train", search_size=400, calibration_size=400, seed=0)


@pytest.mark.parametrize("make", [plain, residual, inverted, layered])
def test_one_epoch_with_the_defaults_makes_no_member_worse(make: Make, digits: tuple[Any, Splits]) -> None:
    data, splits = digits
    norm = {"mean": data.mean, "std": data.std}
    torch.manual_seed(0)
    original = make()
    fit(original, splits.train, splits.search, recipe=TRAINED, flip=False, **norm)
    graph = checked_graph(original, data.image_shape)
    masks = Masks.full(graph)
    for group in graph.groups:
        masks.neurons[group.start + group.size // 2 : group.start + group.size] = False
    statistics = collect(original, graph, splits.calibration, data.mean, data.std)
    network = Compactor(original, graph)(masks, Compensator(original, graph, statistics)(masks))
    anchors = take_anchors(original, splits.calibration, data.mean, data.std)
    Recalibrator(splits.calibration, data.mean, data.std, graph=graph, anchors=anchors)(network, masks)
    before = measure(network, splits.search, data.mean, data.std)
    usual = default_recipe(original, data, CPU)
    trained = copy.deepcopy(network)
    restate_norms(trained, splits.calibration, data.mean, data.std)
    recipe = replace(usual, epochs=1, lr=gentler(original) * usual.lr)
    teacher = original.eval().requires_grad_(False)
    fit(
        trained.requires_grad_(True),
        splits.train,
        splits.search,
        recipe=recipe,
        lesson=Distillation(teacher),
        flip=False,
        **norm,
    )
    after = measure(trained, splits.search, data.mean, data.std)
    assert before.accuracy < measure(original, splits.search, data.mean, data.std).accuracy, "something was lost"
    assert after.loss < before.loss
    assert after.correct >= before.correct - 2 * np.sqrt(before.total * 0.01)
