from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from listener import Listener
from torch import nn

from gaprune.data.images import ImageSet


class TinyNet(nn.Module):
    """A convolution, batch norm, dropout and a head: one of everything that has a state."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(torch.relu(self.bn(self.conv(x))).mean((2, 3))))


def coloured_squares(count: int, seed: int) -> ImageSet:
    """Noise whose brightest channel is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 128, (count, 3, 8, 8), generator=generator)
    images[torch.arange(count), labels] += 100
    return ImageSet(images.to(torch.uint8), labels)


@pytest.fixture
def new_net() -> Callable[..., TinyNet]:
    def build(seed: int = 0, **options: int) -> TinyNet:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return TinyNet(**options)

    return build


@pytest.fixture
def train_images() -> ImageSet:
    return coloured_squares(50, seed=1)


@pytest.fixture
def held_out_images() -> ImageSet:
    return coloured_squares(21, seed=2)


@pytest.fixture
def listen() -> type[Listener]:
    return Listener
