"""Accuracy and loss of a network over images that live on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet, normaliser


@dataclass(frozen=True)
class Measurement:
    """What one pass over an image set gives.

    Attributes:
        correct: number of images whose highest logit is their label.
        total: number of images.
        loss: mean cross-entropy in nats.
    """

    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Top-1, 0 to 1."""
        return self.correct / self.total


def measure(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
) -> Measurement:
    """Top-1 and cross-entropy of ``model`` in eval mode over ``images``.

    Sums stay on the device until the end: one synchronisation for the whole pass.
    The caller sets the model's mode; the model's device must be the images'.
    """
    correct = torch.zeros((), dtype=torch.int64, device=images.images.device)
    loss = torch.zeros((), dtype=torch.float64, device=images.images.device)
    normalised = normaliser(mean, std, images.images.device)
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            labels = images.labels[start : start + batch_size]
            logits = model(normalised(images.images[start : start + batch_size])).float()
            correct += (logits.argmax(1) == labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum").double()
    return Measurement(int(correct), len(images), float(loss) / len(images))
