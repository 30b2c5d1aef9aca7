"""What tests of compression methods share: the squares as a task, with a small network that has learnt them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gaprune.baseline import Baseline
from gaprune.compress import Session, Work
from gaprune.compress.images import ImageTask
from gaprune.data import ImageData, split
from gaprune.training.digest import digest_tensors

TESTS = Path(__file__).parents[1]


@pytest.fixture
def task(trained: torch.nn.Module, square_data: ImageData, monkeypatch: pytest.MonkeyPatch) -> ImageTask:
    monkeypatch.syspath_prepend(str(TESTS))
    splits = split(square_data, search_size=30, calibration_size=60)
    identity = {"weights_sha256": digest_tensors(trained.state_dict())}
    return ImageTask(
        model_name="tiny_factory:small_residual",
        stem="cifar",
        data=square_data,
        splits=splits,
        original=Baseline(trained, square_data.mean, square_data.std, "a test", True, identity),
        epochs=2,
        device=torch.device("cpu"),
        threads=1,
    )


@pytest.fixture
def original(task: ImageTask) -> Work:
    return task.work()


@pytest.fixture
def session() -> Session:
    return Session()
