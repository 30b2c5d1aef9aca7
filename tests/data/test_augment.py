from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.data import augment
from gaprune.errors import OptionError


def random_images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def crops(image: np.ndarray, pad: int, flip: bool) -> list[np.ndarray]:
    """Every image that padding, cropping and mirroring can give."""
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    _, height, width = image.shape
    steps = range(2 * pad + 1)
    cut = [padded[:, top : top + height, left : left + width] for top in steps for left in steps]
    return cut + [crop[:, :, ::-1] for crop in cut if flip]


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    pad=st.integers(0, 2),
    flip=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_result_is_a_crop_of_its_own_reflect_padded_image(
    size: tuple[int, int], pad: int, flip: bool, seed: int
) -> None:
    images = random_images(3, *size)
    results = augment(images, generator=torch.Generator().manual_seed(seed), pad=pad, flip=flip)
    assert results.dtype == torch.uint8
    assert results.shape == images.shape
    for image, result in zip(images.numpy(), results.numpy(), strict=True):
        assert any(np.array_equal(result, crop) for crop in crops(image, pad, flip))


def test_shifts_and_mirrors_are_drawn_for_each_image_and_reach_every_case() -> None:
    image = random_images(1, 5, 5)
    results = augment(image.expand(800, -1, -1, -1), generator=torch.Generator().manual_seed(0), pad=1)
    assert len({result.numpy().tobytes() for result in results}) == 2 * 3 * 3


def test_without_padding_and_flip_nothing_changes() -> None:
    images = random_images(4, 6, 5)
    assert torch.equal(augment(images, generator=torch.Generator(), pad=0, flip=False), images)


def test_a_seed_repeats_the_draws_and_the_images_are_left_alone() -> None:
    images = random_images(8, 6, 6)
    before = images.clone()
    first = augment(images, generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, augment(images, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first, augment(images, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(images, before)


@pytest.mark.parametrize("pad", [-1, 5])
def test_padding_that_cannot_be_reflected_is_refused(pad: int) -> None:
    with pytest.raises(OptionError, match=f"pad must be 0 to 4 for images of 6x5 pixels, got {pad}"):
        augment(random_images(1, 6, 5), generator=torch.Generator(), pad=pad)


def test_cutout_blots_one_square_of_each_image_out_and_draws_last() -> None:
    images = random_images(200, 9, 7).clamp(min=1)
    fill = torch.tensor([0, 0, 0], dtype=torch.uint8)

    def shown(**given: Any) -> torch.Tensor:
        return augment(images, generator=torch.Generator().manual_seed(3), pad=2, **given)

    plain, blotted = shown(), shown(cutout=3, fill=fill)
    assert torch.equal(blotted, shown(cutout=3))
    blank = (blotted == 0).all(1)
    assert torch.equal(torch.where(blank[:, None], 0, plain), blotted)
    heights, widths = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(blank.sum((1, 2)), heights * widths)
    assert set(heights.tolist()) == set(widths.tolist()) == {2, 3}


def test_cutout_fills_with_the_colour_given() -> None:
    fill = torch.tensor([10, 20, 30], dtype=torch.uint8)
    images = random_images(5, 4, 4).clamp(min=31)
    blotted = augment(images, generator=torch.Generator().manual_seed(0), pad=0, flip=False, cutout=8, fill=fill)
    changed = (blotted != images).any(1)
    assert changed.any()
    assert (blotted.permute(0, 2, 3, 1)[changed] == fill).all()


def test_a_negative_cutout_is_refused() -> None:
    with pytest.raises(OptionError, match="cutout must be at least 0, got -1"):
        augment(random_images(2, 4, 4), generator=torch.Generator().manual_seed(0), pad=0, cutout=-1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_images_stay_on_their_device() -> None:
    images = random_images(4, 6, 6).cuda()
    result = augment(images, generator=torch.Generator("cuda").manual_seed(0))
    assert result.device == images.device
