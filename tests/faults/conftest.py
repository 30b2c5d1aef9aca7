"""A finished search with a fine-tuned member, and a comparison, for tests that damage copies of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damages import Whole, make_whole


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What was written; not to be changed."""
    return make_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copied(whole: Whole, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the run, in the same place each time."""

    def copy() -> Path:
        path = tmp_path / "run"
        shutil.rmtree(path, ignore_errors=True)
        return Path(shutil.copytree(whole.run, path))

    return copy
