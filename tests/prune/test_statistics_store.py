"""Statistics on disk are the statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, image_set

from gaprune.prune.graph import build_graph
from gaprune.prune.statistics import Statistics, collect
from gaprune.prune.statistics_store import load_statistics, save_statistics

CPU = torch.device("cpu")


@pytest.fixture
def statistics() -> Statistics:
    torch.manual_seed(0)
    model = PRUNABLE["residual"]().eval()
    found = collect(model, build_graph(model, SHAPE), image_set(), MEAN, STD, batch_size=8)
    return replace(found, taylor=np.arange(4.0))


def flat(value: object) -> object:
    """Everything in it, for comparison: tensors as lists."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: flat(item) for name, item in value.items()}
    return {name: flat(item) for name, item in vars(value).items()} if hasattr(value, "__dict__") else value


def test_saved_and_loaded_they_are_equal_to_the_last_bit(tmp_path: Path, statistics: Statistics) -> None:
    assert statistics.patches
    assert statistics.samples
    save_statistics(tmp_path / "s", statistics, "key")
    assert flat(load_statistics(tmp_path / "s", "key", CPU)) == flat(statistics)


def test_symmetric_matrices_take_half_the_room(tmp_path: Path, statistics: Statistics) -> None:
    save_statistics(tmp_path / "s", statistics, "key")
    assert (tmp_path / "s").stat().st_size < 0.75 * statistics.bytes + 20_000


@pytest.mark.parametrize("damage", ["missing", "another key", "cut short", "not ours"])
def test_what_cannot_be_used_is_none(tmp_path: Path, statistics: Statistics, damage: str) -> None:
    path = tmp_path / "s"
    if damage != "missing":
        save_statistics(path, statistics, "other" if damage == "another key" else "key")
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-10])
    if damage == "not ours":
        path.write_bytes(b"hello")
    assert load_statistics(path, "key", CPU) is None
