from __future__ import annotations

import torch
from sklearn.datasets import load_digits as sklearn_digits

from gaprune.data.digits import load_digits


def test_the_digits_are_32x32_rgb_split_four_to_one_by_class() -> None:
    data = load_digits()
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.image_shape == (3, 32, 32)
    assert data.train.images.dtype == torch.uint8
    assert (data.name, data.flip, data.classes) == ("digits", False, tuple("0123456789"))
    for part in (data.train, data.test):
        assert (torch.bincount(part.labels) - len(part) / 10).abs().max() < 0.05 * len(part) / 10 + 1


def test_all_digits_are_there_once_with_their_grey_levels() -> None:
    data = load_digits()
    images = torch.cat([data.train.images, data.test.images])
    assert (images == images[:, :1]).all()
    assert images.max() == 255
    # Bilinear enlarging keeps an image's mean, but for its edge pixels.
    means = images[:, 0].double().mean((1, 2)).sort().values
    expected = torch.from_numpy(sklearn_digits().images).mean((1, 2)).sort().values * 255 / 16
    assert (means - expected).abs().max() < 3


def test_the_seed_decides_the_test_images() -> None:
    assert torch.equal(load_digits(1).test.images, load_digits(1).test.images)
    assert not torch.equal(load_digits(1).test.images, load_digits(2).test.images)
    assert "seed 2" in load_digits(2).source
