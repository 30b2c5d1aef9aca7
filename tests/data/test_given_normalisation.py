from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.data import from_arrays, load_data
from gaprune.data.given import given_normalisation
from gaprune.errors import OptionError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@given(
    mean=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    std=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
)
def test_numbers_of_0_to_1_and_of_0_to_255_pixels_mean_the_same(mean: list[float], std: list[float]) -> None:
    small = given_normalisation(mean, std)
    assert small is not None
    assert small.how.endswith("of 0..1 pixels")
    if max(small.mean + small.std) > 1:
        large = given_normalisation(small.mean, small.std)
        assert large is not None
        assert (large.mean, large.std) == (small.mean, small.std)
        assert large.how.endswith("of 0..255 pixels")


def test_names_stand_for_numbers() -> None:
    named = {name: given_normalisation(None, None, name) for name in ("imagenet", "half", "none")}
    assert all(named.values())
    found = {name: (one.spread(3)) for name, one in named.items() if one is not None}
    np.testing.assert_allclose(found["imagenet"][0], [123.675, 116.28, 103.53])
    assert found["half"] == ((127.5,) * 3, (127.5,) * 3)
    assert found["none"] == ((0.0,) * 3, (255.0,) * 3)
    assert given_normalisation(None, None) is None


@pytest.mark.parametrize(
    ("mean", "std", "name", "message"),
    [
        (MEAN, None, None, "mean and std go together: std is missing"),
        (None, 0.5, None, "mean and std go together: mean is missing"),
        (MEAN, (0.2, 0, 0.2), None, "std must be above 0, got 0.2, 0, 0.2"),
        ((-0.1, 0.5, 0.5), STD, None, "mean must be 0 to 1 or 0 to 255, got -0.1, 0.5, 0.5"),
        ((300, 1, 1), STD, None, "mean must be 0 to 1 or 0 to 255"),
        ("imagenet", STD, None, "mean must be a number a channel, such as .*, got 'imagenet'"),
        (MEAN, [], None, "std must be a number a channel"),
        (float("nan"), 1, None, "mean must be a number a channel"),
        (MEAN, STD, "imagenet", "normalise imagenet and mean or std say it twice"),
        (None, None, "coco", "unknown normalise 'coco': choose one of imagenet, half, none"),
    ],
)
def test_what_cannot_be_is_refused(mean: object, std: object, name: str | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        given_normalisation(mean, std, name)


def test_so_many_numbers_as_channels() -> None:
    grey = np.zeros((4, 1, 4, 4), dtype=np.uint8)
    with pytest.raises(OptionError, match="mean has 3 numbers for 1 channels: give one for each"):
        from_arrays("grey", (grey, [0, 1, 0, 1]), (grey, [0, 1, 0, 1]), mean=MEAN, std=0.5)


def test_what_is_given_goes_before_what_is_measured_and_is_said() -> None:
    data = load_data("digits", normalise="half")
    assert (data.mean, data.normalised_by) == ((127.5,) * 3, "given")
    assert "normalisation: (pixel - 127.5) / 127.5, pixels 0 to 255; given as --normalise half" in data.notes
    assert load_data("digits").normalised_by == "measured"
