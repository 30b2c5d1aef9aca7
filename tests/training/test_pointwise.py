from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import squares
from tiny_networks import PRUNABLE, SHAPE, prepared, random_masks, space_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gaprune.data.images import ImageSet
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import build_graph
from gaprune.training import Distillation, Recipe, fit
from gaprune.training.pointwise import BLOCK, PixelsFirst, overruns
from gaprune.training.shared import SharedFront, SharedLesson

SWEEP = Path(__file__).with_name("sweep.py")
ISAS = ("SSE41", "AVX2", "AVX512_CORE", "DEFAULT")
RECIPE = Recipe(epochs=1, batch_size=30, lr=0.05, pad=1)
MEAN, STD = (64.0,) * 3, (60.0,) * 3


@pytest.mark.parametrize("isa", ISAS)
def test_a_training_step_is_right_at_every_small_width(isa: str) -> None:
    """With the kernels of every instruction set that is here, gradients and logits are those of plain loops."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": "165"}
    made = subprocess.run(
        [sys.executable, str(SWEEP), "1-20"], capture_output=True, text=True, check=False, env=environment
    )
    assert made.returncode == 0, f"status {made.returncode}: {made.stderr}"
    wrongs, cases = json.loads(made.stdout)
    assert wrongs == []
    assert cases == 20 * 2 * 2 * 2 * 2 * 2


CALLS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[..., Tensor]]] = {
    "two axes": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, None, 2)),
    "odd sizes": ((2, 5, 7, 9), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=(2, 3))),
    "one axis strided": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=(1, 2))),
    "a bias": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, w[:, 0, 0, 0], 2)),
    "groups": ((2, 6, 8, 8), (4, 3, 1, 1), lambda x, w: F.conv2d(x, w, stride=[2], groups=2)),
    "one image": ((5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=2)),
    "a word": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=2, padding="valid")),
    "a dilation": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=2, dilation=3)),
    "one axis": ((2, 5, 8), (4, 5, 1), lambda x, w: F.conv1d(x, w, None, 2)),
    "keywords": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: torch.conv2d(input=x, weight=w, stride=2)),
}
KEPT: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[..., Tensor]]] = {
    "wide": ((2, 16, 8, 8), (4, 16, 1, 1), lambda x, w: F.conv2d(x, w, stride=2)),
    "larger kernel": ((2, 5, 8, 8), (4, 5, 3, 3), lambda x, w: F.conv2d(x, w, stride=2)),
    "unit stride": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w)),
    "padded": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w, stride=2, padding=1)),
    "frozen": ((2, 5, 8, 8), (4, 5, 1, 1), lambda x, w: F.conv2d(x, w.detach(), stride=2)),
}


class Convolutions(TorchDispatchMode):
    """Takes down the weights and strides of the convolutions that run, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.forward: list[tuple[Tensor, tuple[int, ...]]] = []
        self.backward: list[tuple[Tensor, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.forward.append((args[1], tuple(args[3])))
        elif func is torch.ops.aten.convolution_backward.default:
            self.backward.append((args[2], tuple(args[4])))
        return func(*args, **(kwargs or {}))

    @property
    def overrunning(self) -> list[tuple[int, ...]]:
        """Shapes of 1x1 weights whose gradients were asked for where oneDNN may overrun."""
        return [
            tuple(weight.shape)
            for weight, strides in self.backward
            if max(strides) > 1 and max(weight.shape[2:]) == 1 and weight.shape[1] < BLOCK
        ]


def called(shapes: tuple[int, ...], weights: tuple[int, ...], call: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """A convolution's result and gradients."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in (shapes, weights))
    y = call(x, w)
    wanted = [one for one, name in ((x, "input"), (w, "weight")) if name == "input" or y.grad_fn is not None]
    return y, *torch.autograd.grad(y.square().sum(), wanted, allow_unused=True)


@pytest.mark.parametrize("name", CALLS)
def test_pixels_taken_first_are_the_strided_convolution(name: str) -> None:
    plain = called(*CALLS[name])
    with Convolutions() as ran, PixelsFirst():
        first = called(*CALLS[name])
    for found, wanted in zip(first, plain, strict=True):
        torch.testing.assert_close(found, wanted)
    assert len(ran.backward) == 1
    assert ran.overrunning == []


@pytest.mark.parametrize("name", KEPT)
def test_other_convolutions_are_called_as_they_are(name: str) -> None:
    with Convolutions() as plain:
        wanted = called(*KEPT[name])
    with Convolutions() as ran, PixelsFirst():
        found = called(*KEPT[name])
    assert [strides for _, strides in ran.forward] == [strides for _, strides in plain.forward]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_only_weights_that_learn_on_the_cpu_may_overrun() -> None:
    weight = torch.ones(4, 3, 1, 1, requires_grad=True)
    assert overruns(weight)
    assert not overruns(weight.detach())
    assert not overruns(torch.ones(4, 3, 1, 1, requires_grad=True, device="meta"))


class Narrow(nn.Module):
    """What deep pruning leaves of a block: a shortcut of five channels, a functional one and one along an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.shortcut = nn.Conv2d(5, 7, 1, stride=2, bias=False)
        self.second = nn.Parameter(torch.randn(6, 7, 1, 1))
        self.along = nn.Conv1d(6, 6, 1, stride=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(torch.relu(self.shortcut(self.stem(x))), self.second, stride=2)
        logits: Tensor = self.head(self.along(x.flatten(2)).mean(2))
        return logits


def images(count: int, seed: int) -> ImageSet:
    pixels, labels = squares(count, seed)
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels))


def test_no_training_asks_for_a_gradient_that_overruns() -> None:
    torch.manual_seed(0)
    network, teacher = Narrow(), Narrow().eval().requires_grad_(False)
    with Convolutions() as ran:
        options: Any = {"mean": MEAN, "std": STD, "flip": True, "recipe": RECIPE}
        fit(network, images(20, 0), images(5, 1), lesson=Distillation(teacher), **options)
    assert len(ran.backward) == 4 * 2
    assert ran.overrunning == []


def test_members_on_shared_weights_do_not_either() -> None:
    model = prepared(PRUNABLE["residual"]()).float()
    graph = build_graph(model, SHAPE)
    masks = [random_masks(space_of(model, graph, genes="neurons"), seed) for seed in (1, 2)]
    networks = [Compactor(model, graph)(one) for one in masks]
    assert all(network.shortcut.in_channels < BLOCK for network in networks)
    shared = SharedFront(model, graph, masks, networks)
    with Convolutions() as ran:
        options: Any = {"mean": MEAN, "std": STD, "flip": True, "recipe": RECIPE}
        fit(shared, images(20, 0), images(5, 1), lesson=SharedLesson(model.eval()), **options)
    assert len(ran.backward) >= 2 * 6
    assert ran.overrunning == []
