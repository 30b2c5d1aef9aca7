"""Accuracy and loss of a network over images that live on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from gaprune.data import ImageSet, normaliser


@dataclass(frozen=True)
class Measurement:
    """What one pass over an image set gives.

    Attributes:
        correct: number of images whose highest logit is their label; of a bound, the most that it can be.
        total: number of images.
        loss: mean cross-entropy in nats; of a bound, over the images seen only, 0 if there are none.
        bound: whether the pass was stopped early, so that ``accuracy`` is an upper bound.
        seen: of a bound, number of images that were looked at.
    """

    correct: int
    total: int
    loss: float
    bound: bool = False
    seen: int = 0

    @property
    def accuracy(self) -> float:
        """Top-1, 0 to 1."""
        return self.correct / self.total

    @property
    def likely(self) -> float | None:
        """Of a bound, the accuracy on the images seen; ``None`` without any, or where the accuracy is known."""
        return (self.correct - self.total + self.seen) / self.seen if self.bound and self.seen else None


def measure(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
    at_least: float = 0.0,
    advance: Callable[[int], object] = lambda images: None,
) -> Measurement:
    """Top-1 and cross-entropy of ``model`` in eval mode over ``images``.

    Sums stay on the device until the end: one synchronisation for the whole pass.
    The caller sets the model's mode; the model's device must be the images'.

    Args:
        model: gives (N, classes) logits.
        images: what to measure on.
        mean: per channel mean of the pixels, for normalisation.
        std: per channel standard deviation of the same.
        batch_size: images a forward pass.
        at_least: stop when even with all remaining images right the accuracy would be lower, and return that
            bound. Looked at after each batch; on CUDA only halfway, the one further synchronisation.
        advance: told of the images done.
    """
    device = images.images.device
    correct = torch.zeros((), dtype=torch.float64, device=device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    normalised = normaliser(mean, std, device)
    total = len(images)
    looks = _looks(total, batch_size, device) if at_least > 0 else frozenset()
    with torch.inference_mode():
        for start in range(0, total, batch_size):
            labels = images.labels[start : start + batch_size]
            logits = model(normalised(images.images[start : start + batch_size])).float()
            correct += (logits.argmax(1) == labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum").double()
            seen = start + len(labels)
            advance(len(labels))
            if seen in looks:
                most = int(correct) + total - seen
                if most / total < at_least:
                    return Measurement(most, total, float(loss) / seen, bound=True, seen=seen)
        right, lost = torch.stack([correct, loss]).tolist()
    return Measurement(int(right), total, lost / total)


def _looks(total: int, batch_size: int, device: torch.device) -> frozenset[int]:
    """After how many images to see whether going on is of use; never after the last."""
    ends = range(batch_size, total, batch_size)
    if device.type == "cuda":
        return frozenset(end for end in ends if end - batch_size < total / 2 <= end)
    return frozenset(ends)
