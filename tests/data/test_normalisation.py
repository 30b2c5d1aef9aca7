from __future__ import annotations

import numpy as np
import pytest
import torch

from gaprune.data.normalisation import CIFAR10_CLASSES, normalisation


def test_moments_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 256, (5000, 3, 4, 3), generator=torch.Generator().manual_seed(0))
    mean, std = normalisation(("a", "b"), images.to(torch.uint8))
    pixels = images.numpy().astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_a_channel_that_never_varies_is_not_divided_by_zero() -> None:
    mean, std = normalisation(("a", "b"), torch.full((3, 1, 2, 2), 7, dtype=torch.uint8))
    assert (mean, std) == ((7.0,), (1.0,))


@pytest.mark.parametrize(
    ("classes", "channels", "usual"),
    [(CIFAR10_CLASSES, 3, True), (CIFAR10_CLASSES, 1, False), (CIFAR10_CLASSES[::-1], 3, False)],
)
def test_cifar10s_classes_in_order_get_its_usual_constants(
    classes: tuple[str, ...], channels: int, usual: bool
) -> None:
    mean, std = normalisation(classes, torch.zeros((1, channels, 2, 2), dtype=torch.uint8))
    assert (mean == (125.3069, 122.9501, 113.8660)) is usual
    assert (std == (62.9932, 62.0887, 66.7048)) is usual
