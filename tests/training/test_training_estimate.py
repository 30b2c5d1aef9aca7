from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gaprune.training import Recipe, estimate, estimate_seconds


def test_an_estimate_changes_nothing(new_net: Callable[..., nn.Module]) -> None:
    model = new_net().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    seconds = estimate_seconds(model, (3, 8, 8), Recipe(epochs=2, batch_size=8), 30, validation_images=10)
    assert seconds > 0
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_an_estimate_counts_every_image_of_every_epoch(
    new_net: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_seconds_each", lambda work, device: 1.0)
    recipe = Recipe(epochs=3, batch_size=4)
    assert estimate_seconds(new_net(), (3, 8, 8), recipe, 10) == pytest.approx(3 * 10 / 4)
    with_validation = estimate_seconds(new_net(), (3, 8, 8), recipe, 10, validation_images=8)
    assert with_validation == pytest.approx(3 * (10 / 4 + 8 / 4))
    short = Recipe(epochs=3, batch_size=4, epoch_images=6)
    assert estimate_seconds(new_net(), (3, 8, 8), short, 10) == pytest.approx(3 * 6 / 4)
