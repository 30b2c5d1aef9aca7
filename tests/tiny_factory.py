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
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    return TwoOutputs()
