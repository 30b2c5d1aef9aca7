"""Accuracy, loss and divergence of a network over images that live on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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
        divergence: mean divergence from the original's answers in nats, see ``Answers``; of a bound, over the images
            seen only. ``None`` where nobody knows the answers.
    """

    correct: int
    total: int
    loss: float
    bound: bool = False
    seen: int = 0
    divergence: float | None = None

    @property
    def accuracy(self) -> float:
        """Top-1, 0 to 1."""
        return self.correct / self.total

    @property
    def likely(self) -> float | None:
        """Of a bound, the accuracy on the images seen; ``None`` without any, or where the accuracy is known."""
        return (self.correct - self.total + self.seen) / self.seen if self.bound and self.seen else None


@dataclass(frozen=True)
class Answers:
    """What the original says of some images, which needs no labels.

    A network's divergence from it is T^2 KL(p_T || q_T), with p_T and q_T the softmax of the original's and the
    network's logits divided by T (Hinton et al. 2015, arXiv:1503.02531).

    Attributes:
        logs: (N, classes) float32, the logarithms of p_T, in the order of the images.
        temperature: T, above 0.
    """

    logs: Tensor
    temperature: float = 1.0

    @classmethod
    def of(
        cls,
        original: nn.Module,
        images: ImageSet,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        batch_size: int = 256,
        temperature: float = 1.0,
    ) -> Answers:
        """Ask the original, which is in eval mode and on the images' device; see ``measure``."""
        normalised = normaliser(mean, std, images.images.device)
        with torch.no_grad():
            logs = [
                F.log_softmax(original(normalised(images.images[start : start + batch_size])).float() / temperature, 1)
                for start in range(0, len(images), batch_size)
            ]
        return cls(torch.cat(logs), temperature)

    def apart(self, logits: Tensor, start: int) -> Tensor:
        """(n,) divergences of (n, classes) ``logits``, of the images from ``start`` on."""
        softened = F.log_softmax(logits / self.temperature, 1)
        each = F.kl_div(softened, self.logs[start : start + len(logits)], reduction="none", log_target=True)
        return self.temperature**2 * each.sum(1)


def measure(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    batch_size: int = 256,
    at_least: float = 0.0,
    advance: Callable[[int], object] = lambda images: None,
    answers: Answers | None = None,
) -> Measurement:
    """Top-1 and cross-entropy of ``model`` in eval mode over ``images``, and its divergence from known answers.

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
        answers: of the original, of these images.
    """
    device = images.images.device
    correct = torch.zeros((), dtype=torch.float64, device=device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    apart = torch.zeros((), dtype=torch.float64, device=device)
    normalised = normaliser(mean, std, device)
    total = len(images)
    looks = _looks(total, batch_size, device) if at_least > 0 else frozenset()
    with torch.inference_mode():
        for start in range(0, total, batch_size):
            labels = images.labels[start : start + batch_size]
            logits = model(normalised(images.images[start : start + batch_size])).float()
            correct += (logits.argmax(1) == labels).sum()
            loss += F.cross_entropy(logits, labels, reduction="sum").double()
            if answers is not None:
                apart += answers.apart(logits, start).double().sum()
            seen = start + len(labels)
            advance(len(labels))
            if seen in looks:
                most = int(correct) + total - seen
                if most / total < at_least:
                    divergence = None if answers is None else float(apart) / seen
                    return Measurement(most, total, float(loss) / seen, True, seen, divergence)
        right, lost, away = torch.stack([correct, loss, apart]).tolist()
    return Measurement(int(right), total, lost / total, divergence=None if answers is None else away / total)


def divergences(
    model: nn.Module,
    images: ImageSet,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    answers: Answers,
    batch_size: int = 256,
) -> Tensor:
    """(N,) float32: of each image how far ``model`` is from the original's answers; see ``measure``."""
    normalised = normaliser(mean, std, images.images.device)
    with torch.inference_mode():
        return torch.cat(
            [
                answers.apart(model(normalised(images.images[start : start + batch_size])).float(), start)
                for start in range(0, len(images), batch_size)
            ]
        )


def _looks(total: int, batch_size: int, device: torch.device) -> frozenset[int]:
    """After how many images to see whether going on is of use; never after the last."""
    ends = range(batch_size, total, batch_size)
    if device.type == "cuda":
        return frozenset(end for end in ends if end - batch_size < total / 2 <= end)
    return frozenset(ends)
