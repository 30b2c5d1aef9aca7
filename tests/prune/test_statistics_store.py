"""Statistics on disk are the statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, chain, image_set

from gaprune.prune.compensate.statistics import Statistics, collect
from gaprune.prune.compensate.statistics_store import load_statistics, save_statistics
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.norms.recalibration import take_anchors

CPU = torch.device("cpu")


@pytest.fixture
def statistics() -> Statistics:
    torch.manual_seed(0)
    model = PRUNABLE["residual"]().eval()
    found = collect(model, build_graph(model, SHAPE), image_set(), MEAN, STD, batch_size=8)
    anchors = take_anchors(chain().eval(), image_set(), MEAN, STD, batch_size=8)
    return replace(found, taylor=np.arange(4.0), anchors=anchors)


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
    assert statistics.anchors
    save_statistics(tmp_path / "s", statistics, "key")
    found = load_statistics(tmp_path / "s", "key", CPU)
    assert flat(found) == flat(statistics)
    assert found is not None
    for weight, moments in found.fitted.items():
        assert moments.products.stride() == statistics.fitted[weight].products.stride()


def test_symmetric_matrices_take_half_the_room(tmp_path: Path, statistics: Statistics) -> None:
    save_statistics(tmp_path / "s", statistics, "key")
    assert (tmp_path / "s").stat().st_size < 0.75 * statistics.bytes + 20_000


def test_second_moments_are_symmetric_to_the_last_bit(statistics: Statistics) -> None:
    """Half of each is kept: a run that goes on must not see another matrix than the one that began."""
    for part in (statistics.fitted, statistics.held_out):
        for moments in part.values():
            assert torch.equal(moments.products, moments.products.T)


@pytest.mark.parametrize("damage", ["missing", "another key", "cut short", "one bit", "one digit", "not ours"])
def test_what_cannot_be_used_is_none_and_what_is_damaged_is_named(
    tmp_path: Path, statistics: Statistics, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s"
    if damage != "missing":
        save_statistics(path, statistics, "other" if damage == "another key" else "key")
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-10])
    if damage == "not ours":
        path.write_bytes(b"hello")
    content = path.read_bytes() if path.exists() else b""
    if damage == "one bit":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    if damage == "one digit":
        images = f'\\"images\\": {statistics.images}'.encode()
        assert images in content
        path.write_bytes(content.replace(images, images[:-1] + b"7"))
    assert load_statistics(path, "key", CPU) is None
    named = f"{path} is damaged, the statistics are collected anew: "
    assert (named in caplog.text) == (damage not in ("missing", "another key"))
