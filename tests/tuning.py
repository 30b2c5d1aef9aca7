"""What tests of fine-tuning share: small runs, short trainings, and stopping them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gaprune.commands.search import SearchResult
from gaprune.progress import SILENT
from gaprune.training import loop as training_loop

SMALL: dict[str, Any] = {
    "population": 6,
    "search_size": 60,
    "calibration_size": 45,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}
TUNE: dict[str, Any] = {"epochs": 3, "device": "cpu", "threads": 1, "lr": 0.05, "reporter": SILENT}

Tune = Callable[..., SearchResult]


def left_by(path: Path) -> dict[str, bytes]:
    """Networks, genes and the table of a run."""
    names = ("*.safetensors", "genome.json", "config.json", "front.csv", "README.md")
    files = {file for name in names for file in path.rglob(name) if file.name != "statistics.safetensors"}
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(files)}


def metrics(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "metrics.json").read_text())
    return found


@contextmanager
def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interrupt a training, as Ctrl-C does, after so many steps."""
    real, taken = training_loop.train_step, []

    def stopping(*arguments: Any) -> Any:
        taken.append(None)
        if len(taken) > steps:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "train_step", stopping)
        yield
