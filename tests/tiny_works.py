"""Judging works in tests."""

from __future__ import annotations

from pathlib import Path

import torch

from gaprune.compress import Work
from gaprune.compress.storage import save_work, shipped_bytes

CPU = torch.device("cpu")


def accuracy(work: Work) -> float:
    """On the test images, by the work's own runner."""
    return work.task.evaluate(work.runner.predictor(CPU, 1), CPU)["accuracy"]


def logits(work: Work, count: int = 20) -> torch.Tensor:
    return work.runner.predictor(CPU, 1)(work.task.inputs(count))


def saved_bytes(work: Work, folder: Path) -> int:
    """What a work ships as."""
    save_work(folder, work)
    return shipped_bytes(folder)
