"""Networks for ``--model tiny_factory:NAME``: what a user's own module would be."""

from __future__ import annotations

import torch
from torch import nn


def tiny_cnn(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes),
    )


def no_classifier(num_classes: int) -> nn.Module:
    return nn.Conv2d(3, num_classes, 3)


def two_outputs(num_classes: int) -> nn.Module:
    class TwoOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.conv(images), images

    return TwoOutputs()


class Residual(nn.Module):
    """Two convolutions around a shortcut, a stem and a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.conv1 = nn.Conv2d(12, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.shortcut = nn.Conv2d(12, 16, 1, stride=2)
        self.head = nn.Linear(16, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))
        out: torch.Tensor = self.head(y.mean(dim=(2, 3)))
        return out


def small_residual(num_classes: int) -> nn.Module:
    return Residual(num_classes)
