from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from listener import Listener
from torch import nn

from gaprune.baseline import Baseline
from gaprune.data import ImageData
from gaprune.data.images import ImageSet
from gaprune.models.preprocessing import PREPROCESSING, Preprocessing
from gaprune.options import SearchOptions
from gaprune.session.images import load_images, normalised, search_size, split_images
from gaprune.session.job import Before


def baseline(data: ImageData, own: bool = False, told: Preprocessing | None = None) -> Baseline:
    model = nn.Conv2d(3, 4, 3)
    if told is not None:
        setattr(model, PREPROCESSING, told)
    mean = (9.0, 9.0, 9.0) if own else data.mean
    return Baseline(model, mean, data.std, "here", True, {}, own_normalisation=own)


TOLD = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "the makers")


def test_the_normalisation_is_the_users_else_the_weights_else_the_networks_else_the_datas(
    square_data: ImageData,
) -> None:
    given = square_data.with_normalisation((7.0,) * 3, (8.0,) * 3)
    cases = [
        (given, baseline(square_data, own=True, told=TOLD), (7.0,) * 3, 1),
        (given, baseline(given, told=TOLD), (7.0,) * 3, 0),
        (square_data, baseline(square_data, own=True, told=TOLD), (9.0,) * 3, 0),
        (square_data, baseline(square_data, told=TOLD), (1.0, 2.0, 3.0), 1),
        (square_data, baseline(square_data), square_data.mean, 0),
    ]
    for data, network, mean, lines in cases:
        listener = Listener()
        assert normalised(data, network, listener).mean == mean
        assert len(listener.lines) == lines


def test_a_run_that_goes_on_keeps_its_normalisation_whatever_anybody_says(square_data: ImageData) -> None:
    before, listener = Before.of({"data": {"mean": [1, 2, 3], "std": [4, 5, 6]}}), Listener()
    assert before.normalised(square_data, listener).mean == (1, 2, 3)
    assert Before.of({}).normalised(square_data, listener) is square_data
    assert before.normalised(square_data.with_normalisation((1, 2, 3), (4, 5, 6)), listener).std == (4, 5, 6)
    assert listener.lines == [], "nobody says otherwise"
    before.normalised(square_data.with_normalisation((7, 8, 9), (4, 5, 6)), listener)
    assert listener.lines == [
        "normalisation: (pixel - 1, 2, 3) / 4, 5, 6, pixels 0 to 255; as the run began, whatever is given by now"
    ]


def test_images_to_choose_by_are_searched_on_where_there_are_some(square_data: ImageData) -> None:
    half = torch.arange(0, len(square_data.test), 2)
    data = dataclasses.replace(square_data, validation=square_data.test.select(half))
    parts = split_images(SearchOptions(), data, True, Listener())
    assert parts.record["search_from"] == "validation"
    assert len(parts.search) == len(half) == search_size(data, "validation")
    assert (len(parts.train), len(parts.test)) == (len(data.train), len(data.test))
    assert split_images(SearchOptions.of(search_from="test"), data, True, Listener()).record["search_from"] == "test"


def test_what_data_have_to_say_is_said_once(square_data: ImageData) -> None:
    listener = Listener()
    own = dataclasses.replace(square_data, notes=("look out",))
    data = load_images(SearchOptions.of(normalise="half"), listener, own)
    assert listener.lines[0] == "look out"
    assert "given as --normalise half" in listener.lines[1]
    assert data.mean == (127.5,) * 3


def test_sets_are_small_in_memory(square_data: ImageData, tmp_path: Path) -> None:
    empty: Any = ImageSet(torch.empty(0, 3, 8, 8, dtype=torch.uint8), torch.empty(0).long())
    assert square_data.test.bytes == len(square_data.test) * 192
    assert empty.bytes == 0


@pytest.mark.parametrize("option", ["image_size", "resize"])
def test_objects_leave_no_meaning_to_how_files_are_read(square_data: ImageData, option: str) -> None:
    import gaprune

    with pytest.raises(gaprune.GapruneError, match=f"{option} has no meaning with data given as an object"):
        gaprune.search(nn.Conv2d(3, 4, 3), square_data, **{option: 32})
