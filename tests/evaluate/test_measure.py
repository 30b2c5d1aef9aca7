from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet, normalise
from gaprune.evaluate import Answers, Measurement, divergences, measure
from gaprune.evaluate.measurement import _looks

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


def by_label(right: int, count: int = 10) -> tuple[nn.Module, ImageSet]:
    """A network that is right on the first ``right`` of ``count`` images only."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)

    class Known(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            number = x.flatten() * STD[0] + MEAN[0]
            return F.one_hot((number > right - 0.5).long(), 2).float()

    return Known(), ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("right", range(11))
@pytest.mark.parametrize("at_least", [0.0, 0.3, 0.5, 0.95, 1.0])
def test_measuring_stops_only_below_the_floor_and_the_bound_is_never_too_low(
    batch_size: int, right: int, at_least: float
) -> None:
    model, images = by_label(right)
    whole = measure(model, images, MEAN, STD, batch_size=batch_size)
    found = measure(model, images, MEAN, STD, batch_size=batch_size, at_least=at_least)
    assert whole.correct == right
    if found.bound:
        assert whole.accuracy <= found.accuracy < at_least
    else:
        assert found == whole


def test_measuring_stops_at_the_first_batch_that_decides() -> None:
    model, images = by_label(4)
    calls: list[int] = []
    model.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    found = measure(model, images, MEAN, STD, batch_size=2, at_least=0.65)
    assert calls == [2] * 4
    assert (found.correct, found.total, found.bound) == (6, 10, True)
    assert math.isfinite(found.loss)


@pytest.mark.parametrize(
    ("total", "batch_size", "cpu", "cuda"),
    [
        (10, 2, {2, 4, 6, 8}, {6}),
        (10, 5, {5}, {5}),
        (10, 10, set(), set()),
        (10, 256, set(), set()),
        (2000, 256, set(range(256, 2000, 256)), {1024}),
        (9, 4, {4, 8}, {8}),
    ],
)
def test_cuda_is_asked_once_halfway_and_a_cpu_after_each_batch(
    total: int, batch_size: int, cpu: set[int], cuda: set[int]
) -> None:
    assert _looks(total, batch_size, torch.device("cpu")) == cpu
    assert _looks(total, batch_size, torch.device("cuda")) == cuda


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("batch_size", [3, 10])
def test_divergence_is_of_the_originals_answers_image_by_image(temperature: float, batch_size: int) -> None:
    torch.manual_seed(0)
    original, other = (nn.Sequential(nn.Flatten(), nn.Linear(4, 5)).eval() for _ in range(2))
    images = image_set(10)
    answers = Answers.of(original, images, MEAN, STD, batch_size=4, temperature=temperature)
    with torch.no_grad():
        p, q = (F.softmax(net(normalise(images.images, MEAN, STD)) / temperature, 1) for net in (original, other))
    each = temperature**2 * (p * (p.log() - q.log())).sum(1)
    found = measure(other, images, MEAN, STD, batch_size=batch_size, answers=answers)
    assert found.divergence == pytest.approx(float(each.mean()), rel=1e-4)
    by_image = divergences(other, images, MEAN, STD, answers=answers, batch_size=batch_size)
    assert torch.allclose(by_image, each, rtol=1e-3, atol=1e-5)
    itself = measure(original, images, MEAN, STD, batch_size=batch_size, answers=answers)
    assert itself.divergence == pytest.approx(0, abs=1e-6)
    assert measure(other, images, MEAN, STD).divergence is None


def test_divergence_of_a_bound_is_over_the_images_seen() -> None:
    model, images = by_label(4)
    answers = Answers(torch.log_softmax(torch.tensor([[3.0, 0.0]] * 10), 1))
    found = measure(model, images, MEAN, STD, batch_size=5, at_least=0.95, answers=answers)
    seen = divergences(model, images, MEAN, STD, answers=answers)[: found.seen]
    assert found.bound
    assert found.divergence == pytest.approx(float(seen.mean()), rel=1e-5)
