"""Accuracy, loss and divergence of a network over images that live on the device, as far as they are of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import ImageSet, normaliser
from gaprune.evaluate.racing import Race, rungs
from gaprune.genome import Floats


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
        expected: of a lost race, the accuracy or loss that it would probably have, by its rival's and how they differ.
        each: of a race, (N,) what the network gets on each image; ``None`` where it was stopped.
    """

    correct: int
    total: int
    loss: float
    bound: bool = False
    seen: int = 0
    divergence: float | None = None
    expected: float | None = None
    each: Floats | None = field(default=None, compare=False, repr=False)

    @property
    def accuracy(self) -> float:
        """Top-1, 0 to 1."""
        return self.correct / self.total

    @property
    def score(self) -> float:
        """What networks are told apart by: the accuracy."""
        return self.accuracy

    def values(self) -> dict[str, float]:
        """What was measured, by the names of objectives."""
        found = {"accuracy": self.accuracy, "loss": self.loss}
        return found if self.divergence is None else {**found, "divergence": self.divergence}

    @property
    def likely(self) -> float | None:
        """Of a bound, the accuracy on the images seen, or of a race what is expected of all of them.

        ``None`` without any, or where the accuracy is known.
        """
        if self.expected is not None:
            return self.expected
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
    race: Race | None = None,
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
        race: stop when the network is surely worse than its rival, and return a bound; looked at after each rung.
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
    track = _Track(race, total, batch_size)
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
            behind = track.behind(logits, labels, seen)
            if behind is not None:
                return track.lost(int(correct), float(loss), seen, behind)
            if seen in looks:
                most = int(correct) + total - seen
                if most / total < at_least:
                    divergence = None if answers is None else float(apart) / seen
                    return Measurement(most, total, float(loss) / seen, True, seen, divergence)
        right, lost, away = torch.stack([correct, loss, apart]).tolist()
    divergence = None if answers is None else away / total
    return Measurement(int(right), total, lost / total, divergence=divergence, each=track.each)


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


class _Track:
    """A network's way through a race; without one it sees nothing.

    Args:
        race: or ``None``.
        total: images in all.
        batch_size: images a forward pass.
    """

    def __init__(self, race: Race | None, total: int, batch_size: int) -> None:
        self._race = race
        self._total = total
        self._rungs = rungs(total, batch_size) if race is not None and race.rival is not None else ()
        self._each: list[Tensor] = []

    @property
    def each(self) -> Floats | None:
        """(n,) what the network gets on each image so far, the less the better."""
        return None if self._race is None else torch.cat(self._each).cpu().double().numpy()

    def behind(self, logits: Tensor, labels: Tensor, seen: int) -> float | None:
        """See ``Race.behind``; asked after every batch, it looks after those that end a rung."""
        if self._race is None:
            return None
        if self._race.kind == "accuracy":
            self._each.append((logits.argmax(1) != labels).float())
        else:
            self._each.append(F.cross_entropy(logits, labels, reduction="none"))
        each = self.each if seen in self._rungs else None
        return None if each is None else self._race.behind(each, len(self._rungs))

    def lost(self, correct: int, loss: float, seen: int, behind: float) -> Measurement:
        """A bound that the rival dominates, and what is expected of the network."""
        assert self._race is not None
        most, value = correct + self._total - seen, self._race.value
        if self._race.kind == "accuracy":
            most = min(most, round(value * self._total) - 1)
            return Measurement(most, self._total, loss / seen, bound=True, seen=seen, expected=value - behind)
        return Measurement(most, self._total, value + behind, bound=True, seen=seen)


def _looks(total: int, batch_size: int, device: torch.device) -> frozenset[int]:
    """After how many images to see whether going on is of use; never after the last."""
    ends = range(batch_size, total, batch_size)
    if device.type == "cuda":
        return frozenset(end for end in ends if end - batch_size < total / 2 <= end)
    return frozenset(ends)
