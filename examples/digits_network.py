"""A small network that learns the built-in digits: what the examples prune. Put your own in its place."""

from __future__ import annotations

import torch
from torch import nn

import gaprune


def small_network(num_classes: int = 10) -> nn.Module:
    """Three convolutions and a linear head, with fresh weights."""
    return nn.Sequential(
        *block(3, 16, stride=2),
        *block(16, 32, stride=2),
        *block(32, 32, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, num_classes),
    )


def block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    """A convolution with batch norm and a rectifier."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def trained_network(data: gaprune.ImageData, epochs: int = 10) -> nn.Module:
    """The network after some passes over all training images."""
    torch.manual_seed(0)
    network = small_network(len(data.classes))
    images, labels = gaprune.data.normalise(data.train.images, data.mean, data.std), data.train.labels
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
    return network.eval()
