"""Finished searches, and fine-tuning for tests."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from tuning import SMALL, TUNE, Tune

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.runs import read_csv


@pytest.fixture(scope="module")
def make(original: nn.Module, faint: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A finished search, each one made once; not to be changed."""

    @functools.cache
    def made(**options: Any) -> Path:
        path = tmp_path_factory.mktemp("runs") / "run"
        options = options if "rounds" in options else {"generations": 2, **options}
        gaprune.search(original, faint, output=path, **{**SMALL, **options})  # type: ignore[operator]
        return path

    return made


@pytest.fixture
def searched(make: Callable[..., Path], original: nn.Module, tmp_path: Path) -> Callable[..., SearchResult]:
    """A copy of a finished search."""

    def copied(**options: Any) -> SearchResult:
        path = shutil.copytree(make(**options), tmp_path / "run")
        return SearchResult(path, read_csv(path / "front.csv"), None, original)

    return copied


@pytest.fixture
def tune(original: nn.Module, faint: ImageData) -> Tune:
    return lambda run, **options: gaprune.finetune(  # type: ignore[operator]
        run, **{"model": original, "data": faint, **TUNE, **options}
    )
