from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet, normalise
from gaprune.evaluate import Measurement, measure

MEAN, STD = (120.0,), (60.0,)


def image_set(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.randint(0, 5, (count,), generator=generator))


@pytest.mark.parametrize("batch_size", [1, 3, 10, 256])
def test_every_image_counts_once_whatever_the_batches(batch_size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5)).eval()
    images = image_set(10)
    with torch.no_grad():
        logits = model(normalise(images.images, MEAN, STD))
    found = measure(model, images, MEAN, STD, batch_size=batch_size)
    assert found.correct == int((logits.argmax(1) == images.labels).sum())
    assert found.total == 10
    assert found.accuracy == found.correct / 10
    assert found.loss == pytest.approx(float(F.cross_entropy(logits, images.labels)), rel=1e-6)


def test_not_a_number_shows_in_the_loss() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 5), math.nan)

    assert math.isnan(measure(Broken(), image_set(4), MEAN, STD).loss)


def test_a_measurement_knows_its_accuracy() -> None:
    assert Measurement(correct=3, total=4, loss=0.1).accuracy == 0.75
