"""One finished search, with a fine-tuned member, that is exported from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from tuning import SMALL, TUNE

import gaprune
from gaprune.data import ImageData
from gaprune.progress import SILENT

SEARCH: dict[str, Any] = {**SMALL, "generations": 1}


@pytest.fixture(scope="session")
def run(original: nn.Module, faint: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed, but for files that are exported."""
    path = tmp_path_factory.mktemp("runs") / "run"
    result = gaprune.search(original, faint, output=path, **SEARCH)  # type: ignore[operator]
    smallest = result.rows[0].name
    gaprune.finetune(path, model=original, data=faint, pick=smallest, **{**TUNE, "epochs": 8})  # type: ignore[operator]
    return path


@pytest.fixture(scope="session")
def exported(run: Path, original: nn.Module, faint: ImageData) -> Callable[..., Any]:
    def made(**options: Any) -> Any:
        given = {"model": original, "data": faint, "threads": 1, "reporter": SILENT, **options}
        return gaprune.export(given.pop("path", run), **given)  # type: ignore[operator]

    return made
