from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gaprune.training.recipe import (
    Recipe,
    bfloat16_pays,
    ema_decay,
    learning_rate,
    steps_per_epoch,
    trains_faster_in_bfloat16,
)

totals = st.integers(1, 5000)


@given(total=totals, lr=st.floats(1e-4, 10))
def test_the_rate_rises_once_to_its_peak_and_falls_to_almost_nothing(total: int, lr: float) -> None:
    recipe = Recipe(lr=lr)
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    if total >= 100:
        assert rates[0] == pytest.approx(lr / 25)
        assert max(rates) == pytest.approx(lr, rel=0.01)
        assert rates[-1] == pytest.approx(lr / 1000)
        assert peak == pytest.approx(total / 4, abs=2)


@given(images=st.integers(2, 10_000), batch_size=st.integers(2, 512))
def test_steps_hold_all_images_and_none_is_too_large(images: int, batch_size: int) -> None:
    steps = steps_per_epoch(Recipe(batch_size=batch_size), images)
    sizes = [len(part) for part in torch.arange(images).tensor_split(steps)]
    assert sum(sizes) == images
    assert max(sizes) <= batch_size + 1
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1


@given(step=st.integers(0, 100_000))
def test_the_average_warms_up(step: int) -> None:
    recipe = Recipe(ema_decay=0.99)
    assert 0.1 <= ema_decay(recipe, step) <= ema_decay(recipe, step + 1) <= 0.99


def test_bfloat16_pays_only_where_the_processor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    assert bfloat16_pays(cpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert not bfloat16_pays(cpu)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not bfloat16_pays(cpu)


@pytest.mark.parametrize(
    ("layer", "device", "faster"),
    [
        (nn.Conv2d(8, 8, 3), "cpu", True),
        (nn.Conv2d(8, 8, 3, groups=2), "cpu", True),
        (nn.Conv2d(1, 8, 3), "cpu", True),
        (nn.Conv2d(8, 16, 3, groups=8), "cpu", False),
        (nn.Conv2d(8, 16, 3, groups=8), "cuda", True),
    ],
)
def test_depthwise_convolutions_train_in_single_precision_on_a_processor(
    layer: nn.Module, device: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.training.recipe.bfloat16_pays", lambda device: True)
    assert trains_faster_in_bfloat16(nn.Sequential(layer, nn.ReLU()), torch.device(device)) is faster


def test_the_rate_is_at_its_peak_after_the_warm_up() -> None:
    for share, peak in ((0.25, 25), (0.5, 50), (0.0, 0)):
        recipe = Recipe(lr=0.1, warm_up=share)
        rates = [learning_rate(recipe, step, 101) for step in range(101)]
        assert max(rates) == pytest.approx(0.1)
        assert rates.index(max(rates)) == peak


def test_a_record_names_what_came_later_only_where_it_is_another() -> None:
    assert Recipe().record().keys() & {"warm_up", "cutout"} == set()
    assert Recipe().record()["epoch_images"] is None
    assert Recipe(warm_up=0.1).record()["warm_up"] == 0.1
    assert Recipe(cutout=8).record()["cutout"] == 8
