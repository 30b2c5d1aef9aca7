"""Several searches in one process, also in threads: each finds what it finds alone, and the process stays as it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import left_by
from tiny_factory import small_residual
from torch import nn

import gaprune
from gaprune.progress import SILENT

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"threads": 1, "seed": 0, "log_level": "error"},
    "threads": {"threads": 2, "seed": 1, "log_level": "debug"},
    "polish": {"threads": 1, "seed": 2, "polish": True},
}
"""Searches that ask the process for different things."""


def search(kind: str, network: nn.Module, run: Path, cache: Path) -> None:
    gaprune.search(
        network,
        "digits",
        output=run,
        cache_dir=cache,
        search_size=40,
        statistics_size=40,
        calibration_size=40,
        population=4,
        generations=2,
        device="cpu",
        reporter=SILENT,
        **OPTIONS[kind],
    )


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("gaprune")
    before = found.level
    found.setLevel(logging.WARNING)
    yield found
    found.setLevel(before)


def test_searches_in_threads_find_what_they_find_alone(tmp_path: Path, logger: logging.Logger) -> None:
    torch.manual_seed(0)
    network, cache, failed = small_residual(10), tmp_path / "cache", []
    for place in ("alone", "together"):
        (tmp_path / place).mkdir()

    def work(kind: str, place: str) -> None:
        try:
            search(kind, network, tmp_path / place / kind, cache)
        except BaseException as error:
            failed.append(error)

    for kind in OPTIONS:
        work(kind, "alone")
    before = torch.get_num_threads(), torch.get_default_dtype()
    threads = [threading.Thread(target=work, args=(kind, "together")) for kind in OPTIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    for kind in OPTIONS:
        found, alone = (left_by(tmp_path / place / kind) for place in ("together", "alone"))
        assert [name for name in found | alone if found.get(name) != alone.get(name)] == []
    assert (torch.get_num_threads(), torch.get_default_dtype()) == before
    assert logger.level == logging.WARNING
