"""What a training takes that nobody has said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gaprune.data import ImageData, ImageSet
from gaprune.training import default_recipe, held_out_size
from gaprune.training import recipe as recipe_module


def data_of(count: int, size: int, name: str = "images") -> ImageData:
    images = ImageSet(
        torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(count, 3, size, size), torch.zeros(count).long()
    )
    return ImageData(name, "made by the test", ("a", "b"), images, images, (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    ("data", "device", "expected"),
    [
        (data_of(1438, 32, "digits"), "cpu", (8, 64, 0.03, 4)),
        (data_of(500, 16), "cpu", (100, 32, 0.05, 2)),
        (data_of(6000, 64), "cpu", (50, 32, 0.05, 4)),
        (data_of(50_000, 32, "cifar10"), "cpu", (30, 128, 0.1, 4)),
        (data_of(50_000, 32, "cifar10"), "cuda", (30, 512, 0.4, 4)),
    ],
)
def test_recipes_suit_the_data(
    data: ImageData, device: str, expected: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_module, "bfloat16_pays", lambda device: device.type == "cuda")
    recipe = default_recipe(nn.Conv2d(3, 8, 3), data, torch.device(device), seed=7)
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.pad) == expected
    assert recipe.seed == 7
    assert recipe.amp is (device == "cuda")


@pytest.mark.parametrize(("images", "held_out"), [(3, 1), (1438, 288), (50_000, 2_000)])
def test_a_fifth_is_held_out_but_no_more_than_is_needed(images: int, held_out: int) -> None:
    assert held_out_size(data_of(images, 8)) == held_out
