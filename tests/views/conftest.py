"""A finished run of a tiny network, made once for all tests here; each test takes a copy that it may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from resealing import unsealed

import gaprune
from gaprune.data import ImageData
from gaprune.progress import SILENT

SMALL = {"population": 6, "generations": 3, "search_size": 60, "device": "cpu", "threads": 1}


@pytest.fixture(scope="session")
def finished(original: torch.nn.Module, faint: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "first"
    options = {**SMALL, "log": "tensorboard"}
    gaprune.search(original, faint, output=path, reporter=SILENT, **options)  # type: ignore[operator]
    return path


@pytest.fixture(scope="session")
def other_seed(original: torch.nn.Module, faint: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with another seed; not to be changed."""
    path = tmp_path_factory.mktemp("runs") / "second"
    gaprune.search(original, faint, output=path, reporter=SILENT, seed=1, **SMALL)  # type: ignore[operator]
    return path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; without checksums, so that what is left of it is read as it is."""
    return unsealed(Path(shutil.copytree(finished, tmp_path / "run")))
