"""Patches as a convolution sees them, and their moments."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gaprune.prune.compensate.patches import PatchSums, draw_positions, outputs_at, patches_at, pointwise

CONVOLUTIONS = {
    "3x3": nn.Conv2d(4, 5, 3),
    "padded": nn.Conv2d(4, 5, 3, padding=1),
    "strided": nn.Conv2d(4, 5, 3, padding=1, stride=2),
    "uneven": nn.Conv2d(4, 5, (3, 1), padding=(2, 0), stride=(1, 2)),
    "dilated": nn.Conv2d(4, 5, 3, padding=2, dilation=2),
    "same": nn.Conv2d(4, 5, (5, 3), padding="same"),
    "reflected": nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"),
    "circular": nn.Conv2d(4, 5, 3, padding=2, padding_mode="circular"),
    "1x1 strided": nn.Conv2d(4, 5, 1, stride=2),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_weights_times_patches_are_the_output_at_every_position(name: str) -> None:
    torch.manual_seed(0)
    conv = CONVOLUTIONS[name].double()
    x = torch.randn(3, 4, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        y = conv(x)
        positions = draw_positions(conv, x, 10_000, torch.Generator().manual_seed(1))
        assert sorted(positions[0].tolist()) == list(range(y[0, 0].numel()))
        found = patches_at(conv, x, positions) @ conv.weight.flatten(1).T + conv.bias
        torch.testing.assert_close(found, outputs_at(conv, y, positions))


def test_a_linear_layer_at_every_position_has_positions_too() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 5).double(), torch.randn(3, 6, 7, 4, dtype=torch.float64)
    positions = draw_positions(layer, x, 10, torch.Generator().manual_seed(1))
    assert positions.shape == (3, 10)
    with torch.no_grad():
        found = patches_at(layer, x, positions) @ layer.weight.T + layer.bias
        torch.testing.assert_close(found, outputs_at(layer, layer(x), positions))


def test_no_position_is_drawn_twice_and_a_seed_repeats_the_draw() -> None:
    conv, x = nn.Conv2d(4, 5, 3), torch.zeros(5, 4, 9, 9)
    drawn = [draw_positions(conv, x, 20, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert all(len(set(row.tolist())) == 20 for row in drawn[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_give_mean_and_covariance_however_far_from_zero(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.prune.compensate.patches.BLOCK", 4)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7) + 1000
    sums = PatchSums(6, torch.device("cpu"))
    for part in rows.to(dtype).split(30):
        sums.add(part)
    assert sums.count == 200
    torch.testing.assert_close(sums.mean(), rows.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(sums.covariance(), torch.cov(rows.T, correction=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("layer", "whole"),
    [
        (nn.Linear(4, 3), True),
        (nn.Conv2d(4, 3, 1), True),
        (nn.Conv2d(4, 3, 1, stride=2), False),
        (nn.Conv2d(4, 3, 1, padding=1), False),
        (nn.Conv2d(4, 3, 3), False),
    ],
)
def test_only_layers_that_see_every_position_once_are_pointwise(layer: nn.Module, whole: bool) -> None:
    assert pointwise(layer) is whole


def test_patches_are_unfolds() -> None:
    x, conv = torch.randn(2, 4, 6, 6), nn.Conv2d(4, 3, 3, padding=1)
    positions = torch.arange(36).expand(2, -1)
    wanted = F.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(patches_at(conv, x, positions), wanted)
