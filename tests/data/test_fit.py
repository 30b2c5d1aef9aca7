from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from gaprune.data.fit import LARGEST, SMALLEST, Fit
from gaprune.errors import OptionError


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(20, 300),
    height=st.integers(20, 300),
    crop=st.integers(8, 90),
    more=st.integers(0, 40),
)
def test_the_centre_is_what_torchvision_cuts_out(width: int, height: int, crop: int, more: int) -> None:
    image = picture(width, height)
    usual = transforms.Compose([transforms.Resize(crop + more), transforms.CenterCrop(crop)])
    assert np.array_equal(Fit(crop, crop + more).centred(image), np.array(usual(image)))


def test_a_large_jpeg_is_read_smaller_and_looks_the_same(tmp_path: Path) -> None:
    picture(1600, 1200).save(tmp_path / "large.jpg", quality=95)
    usual = transforms.Compose([transforms.Resize(128), transforms.CenterCrop(128)])
    with Image.open(tmp_path / "large.jpg") as image:
        expected = np.array(usual(image), dtype=np.int64)
    with Image.open(tmp_path / "large.jpg") as image:
        found = Fit(128, 128).centred(image)
        assert min(image.size) < 1200
    assert np.abs(found - expected).mean() < 1


@pytest.mark.parametrize("size", [(50, 40), (400, 30), (30, 400), (9, 9)])
def test_random_parts_have_the_size_and_depend_on_the_draw_alone(size: tuple[int, int]) -> None:
    image, fit = picture(*size), Fit(24, 24)
    first, again, other = (fit.random(image.copy(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (24, 24, 3)
    assert np.array_equal(first, again)
    narrow = max(size) > 4 * min(size)  # no part of a usual form fits, so the centre is taken
    assert np.array_equal(first, other) is narrow


@pytest.mark.parametrize(
    ("image_size", "resize", "message"),
    [
        (0, None, f"image-size must be {SMALLEST} to {LARGEST} pixels, got 0"),
        (100_000, None, "image-size must be .* got 100000"),
        (224.0, None, "image-size must be a whole number of pixels, got 224.0"),
        (True, None, "image-size must be a whole number of pixels, got True"),
        (224, "256", "resize must be a whole number of pixels, got '256'"),
        (224, 160, "resize must be at least the image-size of 224, got 160"),
        (None, 256, "resize goes with image-size, .* got resize 256"),
    ],
)
def test_sides_that_cannot_be_are_refused(image_size: object, resize: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Fit.of(image_size, resize)  # type: ignore[arg-type]


def test_the_short_side_is_resized_to_the_crop_unless_told_otherwise() -> None:
    assert Fit.of(None, None) is None
    assert Fit.of(224, None) == Fit(224, 224)
    assert str(Fit.of(224, 256)) == "short side 256, 224x224"
