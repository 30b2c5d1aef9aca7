"""What a run keeps of its preparation is used again, and never for something else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, image_set

from gaprune.errors import RunError
from gaprune.prune.compensate.statistics import Statistics, collect
from gaprune.prune.graph.graph import build_graph
from gaprune.session.statistics_cache import NAME, Kept

CPU = torch.device("cpu")


@pytest.fixture
def collected() -> Statistics:
    model = PRUNABLE["chain"]().eval()
    return collect(model, build_graph(model, SHAPE), image_set(), MEAN, STD)


def refuse() -> Statistics:
    raise AssertionError("collected again")


def test_what_was_kept_is_not_collected_again(tmp_path: Path, collected: Statistics) -> None:
    first = Kept(None, "key", CPU)
    assert first.statistics(lambda: collected) is collected
    first.save(tmp_path)
    again = Kept(tmp_path, "key", CPU)
    found = again.statistics(refuse)
    assert found.fitted.keys() == collected.fitted.keys()
    before = (tmp_path / NAME).stat().st_mtime_ns
    again.save(tmp_path)
    assert (tmp_path / NAME).stat().st_mtime_ns == before


def test_statistics_of_other_weights_or_options_are_collected_and_kept_instead(
    tmp_path: Path, collected: Statistics
) -> None:
    Kept(None, "key", CPU, collected).save(tmp_path)
    other = Kept(tmp_path, "other", CPU)
    assert other.statistics(lambda: collected) is collected
    other.save(tmp_path)
    assert Kept(tmp_path, "other", CPU).statistics(refuse).images == collected.images


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path, collected: Statistics) -> None:
    with pytest.raises(RunError, match=r"cannot write .*statistics\.safetensors: No such file or directory"):
        Kept(None, "key", CPU, collected).save(tmp_path / "missing")
