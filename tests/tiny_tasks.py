"""Networks that do anything but classify images, each with its task: tiny, untrained, the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tiny_texts import tiny_config
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertForSequenceClassification

from gaprune import Task


@dataclass(frozen=True)
class Kind:
    """A network and its task.

    Attributes:
        network: in eval mode.
        task: that judges it.
    """

    network: nn.Module
    task: Task


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _like(network: nn.Module, call: Callable[[nn.Module], Tensor]) -> Callable[[nn.Module], float]:
    """A score: how near a network's answers are to the original's, 1 at best."""
    with torch.no_grad():
        wanted = call(network.eval())
    return lambda net: 1 - float((call(net) - wanted).square().mean() / wanted.square().mean())


class TinyUNet(nn.Module):
    """One level down, one up; a dict of logits and of the deepest maps."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.middle = nn.Conv2d(8, 12, 3, padding=1)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.merge = nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = F.relu(self.norm(self.down(x)))
        x = F.relu(self.middle(F.max_pool2d(first, 2)))
        return {"out": self.head(F.relu(self.merge(torch.cat([self.up(x), first], 1))))}


def segmenter() -> Kind:
    network, pictures = TinyUNet(), _drawn(24, 3, 8, 8)
    with torch.no_grad():
        masks = network.eval()(pictures)["out"].argmax(1)

    def mean_iou(net: nn.Module) -> float:
        found = net(pictures)["out"].argmax(1)
        pairs = [(found == kind, masks == kind) for kind in range(3)]
        return sum(float((a & b).sum() / (a | b).sum().clamp_min(1)) for a, b in pairs) / 3

    task = Task(pictures[:2], pictures.split(8), mean_iou, name="mean IoU", test=lambda net: mean_iou(net) - 0.01)
    return Kind(network, task)


class TwoInputs(nn.Module):
    """Two branches of unlike width that meet; takes them by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 10), nn.Linear(4, 8)
        self.both, self.out = nn.Linear(18, 12), nn.Linear(12, 1)

    def forward(self, *, left: Tensor, right: Tensor) -> Tensor:
        x = torch.cat([torch.tanh(self.left(left)), torch.tanh(self.right(right))], 1)
        return self.out(F.relu(self.both(x)))  # type: ignore[no-any-return]


def regressor() -> Kind:
    network, given = TwoInputs(), {"left": _drawn(40, 6), "right": _drawn(40, 4, seed=1)}
    with torch.no_grad():
        wanted = network.eval()(**given)
    parts = [{name: tensor[start : start + 20] for name, tensor in given.items()} for start in (0, 20)]
    return Kind(network, Task(given, parts, lambda net: -float((net(**given) - wanted).square().mean())))


@dataclass
class Found:
    """What the detector gives: a data class, as many networks' outputs are."""

    classes: Tensor
    boxes: Tensor
    maps: tuple[Tensor, ...] = ()


class Detector(nn.Module):
    """A class and a box for each cell of a grid, and the loss that it is trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 12, 3, padding=1)
        self.classes, self.boxes = nn.Conv2d(12, 2, 1), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Found:
        x = F.relu(self.body(F.relu(self.norm(self.stem(x)))))
        return Found(self.classes(x), self.boxes(x).sigmoid())

    def loss(self, x: Tensor, classes: Tensor, boxes: Tensor) -> Tensor:
        found = self(x)
        return F.cross_entropy(found.classes, classes) + F.l1_loss(found.boxes, boxes)


def detector() -> Kind:
    network, pictures = Detector(), _drawn(16, 3, 8, 8)
    with torch.no_grad():
        found = network.eval()(pictures)
    targets = found.classes.argmax(1), found.boxes
    task = Task(pictures[:2], [pictures[:8], pictures[8:]], lambda net: -net.loss(pictures, *targets), name="-loss")
    return Kind(network, task)


class Pair(nn.Module):
    """Gives a tuple: logits, and features that somebody else reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, scale: float = 1.0) -> tuple[Tensor, list[Tensor]]:
        features = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(features) * scale, [features]


def pair() -> Kind:
    network, x = Pair(), _drawn(32, 8)
    score = _like(network, lambda net: torch.cat([net(x, 2.0)[0], net(x, 2.0)[1][0]], 1))
    return Kind(network, Task((x, 2.0), [(x[:16], 2.0), (x[16:], 2.0)], score))


def text_classifier() -> Kind:
    network = BertForSequenceClassification(tiny_config())
    ids = torch.randint(5, 20, (12, 7), generator=torch.Generator().manual_seed(0))
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    parts = [{name: tensor[start : start + 6] for name, tensor in given.items()} for start in (0, 6)]
    score = _like(network, lambda net: net(**given).logits)
    return Kind(network, Task(given, parts, score, name="likeness", divergence=lambda net: 1 - score(net)))


KINDS: dict[str, Callable[[], Kind]] = {
    "segmenter": segmenter,
    "regressor": regressor,
    "detector": detector,
    "pair": pair,
    "text classifier": text_classifier,
}


def made(name: str) -> Kind:
    torch.manual_seed(0)
    kind = KINDS[name]()
    kind.network.eval()
    return kind
