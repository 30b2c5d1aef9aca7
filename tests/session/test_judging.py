"""Whether the original does here what it was trained for is told before a search builds on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import squares
from listener import Listener
from torch import nn

import gaprune
from gaprune.data import ImageData, from_arrays, split
from gaprune.data.splits import Splits
from gaprune.errors import ModelError
from gaprune.options import SearchOptions
from gaprune.session.judging import FEW, chance_at_most, judged

DATA = from_arrays("squares", squares(60, 0), squares(80, 1), classes=("red", "green", "blue"))


def parts(data: ImageData) -> Splits:
    return split(data, search_from="test", search_size=120, calibration_size=90)


def said(model: nn.Module, data: ImageData = DATA, settled: bool = False, **options: Any) -> list[str]:
    listener = Listener()
    judged(SearchOptions.of(**options), model, data, parts(data), listener, settled=settled)
    return listener.lines


class Blind(nn.Module):
    """Always names the first class, whatever it sees."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(3)[0].expand(len(images), 3) + 0 * images.mean()


def test_a_network_that_does_its_work_draws_no_line(trained: nn.Module) -> None:
    assert said(trained) == []


def test_a_network_at_chance_is_not_searched_unless_that_is_wanted() -> None:
    with pytest.raises(
        ModelError, match=r"right on 33.3% of 120 search images.*33.3%: check the normalisation"
    ) as told:
        said(Blind())
    assert "--yes" in str(told.value)
    (line,) = said(Blind(), yes=True)
    assert line.startswith("WARNING: the original is right on 33.3%")
    assert "--mean, --std, --normalise" in line
    assert said(Blind(), settled=True) == []


def test_few_images_draw_the_line_alone() -> None:
    images, labels = squares(FEW // 6, 2)
    small = from_arrays("few", squares(20, 0), (images, labels), classes=DATA.classes)
    listener = Listener()
    splits = split(small, search_from="test", search_size=len(labels) // 2, calibration_size=30)
    judged(SearchOptions(), Blind(), small, splits, listener, settled=False)
    assert [line[:8] for line in listener.lines] == ["WARNING:"]


def test_chance_is_that_of_the_commonest_class() -> None:
    splits = parts(DATA)
    lopsided = type(splits.search)(splits.search.images, (splits.search.labels > 1).long())
    assert chance_at_most(splits.search) == pytest.approx(1 / 3 + 3 * (2 / 9 / 120) ** 0.5)
    assert chance_at_most(lopsided) > 2 / 3


def test_another_normalisation_shows_in_what_recalibration_does(trained: nn.Module) -> None:
    dim = DATA.with_normalisation(tuple(m - 120 for m in DATA.mean), tuple(3 * s for s in DATA.std))
    lines = said(trained, dim, yes=True)
    assert any("batch norm recalibrated on your images moves the original from" in line for line in lines)


def test_a_search_stops_at_once_and_leaves_nothing(tmp_path: Any) -> None:
    class Net(nn.Sequential):
        pass

    torch.manual_seed(0)
    net = Net(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        net[4].weight.zero_()
    with pytest.raises(ModelError, match=r"the original is right on .* check the normalisation"):
        gaprune.search(net, DATA, search_from="test", search_size=120, output=tmp_path / "run", reporter=Listener())
    assert not (tmp_path / "run").exists()
