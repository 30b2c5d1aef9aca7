"""What a search's networks are shown and judged by: images of classes, or a task of the caller's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from gaprune.data import ImageData, Splits
from gaprune.evaluate import Evaluator
from gaprune.options import SCORE, TASK
from gaprune.prune import Form, Inputs
from gaprune.tasks import Task, judge
from gaprune.training import digest_images, digest_tensors

NAMED = "named"
"""Of a task in a manifest: what network and task are made from, where names stand for them."""


class Material(Protocol):
    """What a job is made of besides a network."""

    @property
    def name(self) -> str:
        """Of the data, for file names and tables."""
        ...

    @property
    def score(self) -> str | None:
        """What networks are judged by, in words; ``None`` where that is accuracy."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it lies and networks run."""
        ...

    @property
    def form(self) -> Form:
        """What networks take."""
        ...

    @property
    def saved(self) -> dict[str, Any]:
        """What a member's configuration says of it: classes, image_shape, mean and std."""
        ...

    def manifest(self) -> dict[str, Any]:
        """Entries of the manifest."""
        ...

    def identity(self) -> dict[str, Any]:
        """What a resumed run must find again."""
        ...

    def tested(self, evaluator: Evaluator, network: nn.Module) -> float | None:
        """What a network reaches on what no choice rests on; ``None`` where there is none."""
        ...


@dataclass(frozen=True)
class ImageMaterial:
    """Images of classes.

    Attributes:
        data: the data set, normalised as the network needs it.
        splits: who may look at which image; on the device.
    """

    data: ImageData
    splits: Splits

    @property
    def score(self) -> None:
        """It is accuracy."""
        return

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.data.name

    @property
    def device(self) -> torch.device:
        """Where the images lie and networks run."""
        return self.splits.search.images.device

    @property
    def form(self) -> Form:
        """(C, H, W) of an image."""
        return self.data.image_shape

    @property
    def saved(self) -> dict[str, Any]:
        """What a member's configuration says of the images."""
        data = self.data
        return {"classes": data.classes, "image_shape": data.image_shape, "mean": data.mean, "std": data.std}

    def manifest(self) -> dict[str, Any]:
        """The entry ``data``."""
        return {
            "data": {
                "name": self.data.name,
                "source": self.data.source,
                "classes": list(self.data.classes),
                "mean": list(self.data.mean),
                "std": list(self.data.std),
                "skipped": list(self.data.skipped),
                "splits": self.splits.record,
            }
        }

    def identity(self) -> dict[str, Any]:
        """Digests of the images that a search looks at, and their normalisation."""
        return {
            "search": digest_images(self.splits.search),
            "calibration": digest_images(self.splits.calibration),
            "test": digest_images(self.splits.test),
            "normalisation": [*self.data.mean, *self.data.std],
        }

    def tested(self, evaluator: Evaluator, network: nn.Module) -> float | None:
        """Accuracy on the test images."""
        return evaluator.measure(network, self.splits.test).accuracy


@dataclass(frozen=True)
class TaskMaterial:
    """A task of the caller's own.

    Attributes:
        task: the caller's.
        device: where networks run.
        smallest: what the smallest network gets, by objective; the scale of what is minimised.
        named: what network and task are made from, where names stand for them.
    """

    task: Task
    device: torch.device
    smallest: dict[str, float]
    named: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its data, where that has a name; else that it is a task."""
        return TASK if self.named is None else str(self.named["data"])

    @property
    def score(self) -> str:
        """What the task calls its score."""
        return self.task.name

    @property
    def form(self) -> Inputs:
        """The example of inputs."""
        return self.task.example

    @property
    def saved(self) -> dict[str, Any]:
        """Nothing of images; what it is called with is the caller's to know."""
        base = None if self.named is None else self.named["base"]
        return {"classes": (), "image_shape": None, "mean": (), "std": (), "base": base}

    def manifest(self) -> dict[str, Any]:
        """The entries ``data`` and ``task``."""
        told = {
            "score": self.score,
            "inputs": str(self.task.example),
            "calibration_samples": sum(map(len, self.task.batches)),
            "smallest": self.smallest,
        }
        named = {} if self.named is None else {NAMED: dict(self.named)}
        return {"data": {"name": self.name}, TASK: {**told, **named}}

    def identity(self) -> dict[str, Any]:
        """Digests of the example and of the calibration batches; functions have none."""
        return {"inputs": _digest((self.task.example,)), "calibration": _digest(self.task.batches)}

    def tested(self, evaluator: Evaluator, network: nn.Module) -> float | None:
        """What ``task.test`` says."""
        return None if self.task.test is None else judge(network, self.task.test)


def score_name(manifest: dict[str, Any]) -> str | None:
    """What a run's networks are judged by, in words; ``None`` where that is accuracy."""
    told = manifest.get(TASK)
    return str(told.get(SCORE, SCORE)) if isinstance(told, dict) else None


def _digest(batches: tuple[Inputs, ...]) -> str:
    tensors = (tensor for batch in batches for tensor in batch.tensors())
    return digest_tensors({f"{number:06d}": tensor for number, tensor in enumerate(tensors)})
