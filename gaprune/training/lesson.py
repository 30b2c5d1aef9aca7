"""What a training step learns from: the labels alone, or the labels and a teacher's logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.errors import ModelError, OptionError
from gaprune.evaluate import Measurement
from gaprune.options import HOTTEST
from gaprune.training.digest import digest_tensors


@dataclass(frozen=True)
class Batch:
    """The images of one step.

    Attributes:
        inputs: (N, C, H, W) float32, augmented and normalised.
        labels: (N,) int64.
        smoothing: share of the target that is spread over all classes.
        amp: whether networks run in bfloat16.
        generator: for whatever a lesson draws.
    """

    inputs: Tensor
    labels: Tensor
    smoothing: float
    amp: bool
    generator: torch.Generator

    def logits(self, model: Callable[[Tensor], Any]) -> Tensor:
        """(N, classes) float32, in the precision of the training.

        Raises:
            ModelError: the network gives something else, as some do in training mode alone.
        """
        with torch.autocast(self.inputs.device.type, dtype=torch.bfloat16, enabled=self.amp):
            logits = model(self.inputs)
        if not isinstance(logits, Tensor):
            raise ModelError(
                f"in training the network gives {type(logits).__name__}, expected one tensor of logits: "
                "build it without auxiliary outputs (aux_logits=False)"
            )
        return logits.float()

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean over the batch, labels smoothed."""
        return F.cross_entropy(logits, self.labels, label_smoothing=self.smoothing)


class Lesson(Protocol):
    """What ``fit`` teaches."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar that a step makes smaller; every draw comes from ``batch.generator``."""
        ...

    def check(self, averaged: nn.Module, measured: Callable[[nn.Module], Measurement]) -> Measurement:
        """How good the averaged weights are after an epoch; ``measured`` runs a network on the held-out images."""
        ...

    def description(self) -> dict[str, Any]:
        """JSON values that name it: a training goes on only with an equal one. Empty for the labels alone."""
        ...


@dataclass(frozen=True)
class Labels:
    """Cross-entropy with smoothed labels."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """See ``Lesson``."""
        return batch.cross_entropy(batch.logits(model))

    def check(self, averaged: nn.Module, measured: Callable[[nn.Module], Measurement]) -> Measurement:
        """See ``Lesson``."""
        return measured(averaged)

    def description(self) -> dict[str, Any]:
        """See ``Lesson``."""
        return {}


@dataclass(frozen=True)
class Distillation(Labels):
    """Cross-entropy and the divergence from a teacher (Hinton et al. 2015, arXiv:1503.02531).

    The loss is (1 - w) CE + w T^2 KL(p_T || q_T), where p_T and q_T are the softmax of the teacher's and the network's
    logits divided by T.

    Attributes:
        teacher: in eval mode, on the images' device; never trained.
        temperature: T, above 0, at most ``HOTTEST``.
        weight: w, 0 to 1.
    """

    teacher: nn.Module
    temperature: float = 4.0
    weight: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.temperature <= HOTTEST:
            raise OptionError(f"temperature must be above 0 and at most {HOTTEST:g}, got {self.temperature:g}")
        if not 0 <= self.weight <= 1:
            raise OptionError(f"distill must be 0 to 1, got {self.weight:g}")

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """See ``Lesson``."""
        return self.blend(batch.logits(model), batch, self.targets(batch))

    def targets(self, batch: Batch) -> Tensor:
        """(N, classes) the teacher's softened log-probabilities."""
        with torch.no_grad():
            return F.log_softmax(batch.logits(self.teacher) / self.temperature, dim=1)

    def blend(self, logits: Tensor, batch: Batch, targets: Tensor) -> Tensor:
        """The loss of (N, classes) logits against the labels and the teacher's ``targets``."""
        softened = F.log_softmax(logits / self.temperature, dim=1)
        apart = F.kl_div(softened, targets, reduction="batchmean", log_target=True)
        return (1 - self.weight) * batch.cross_entropy(logits) + self.weight * self.temperature**2 * apart

    def description(self) -> dict[str, Any]:
        """See ``Lesson``."""
        return {
            "teacher": digest_tensors(self.teacher.state_dict()),
            "temperature": self.temperature,
            "weight": self.weight,
        }


LABELS = Labels()
