from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from gaprune.prune.cut.coclustering import group_channels
from gaprune.prune.cut.compact import split
from gaprune.prune.cut.masks import Grouping

BLOCKS = [(4, 3, 2), (8, 8, 4), (16, 8, 2), (32, 32, 8)]


def planted(out: int, inputs: int, groups: int, seed: int, noise: float) -> tuple[NDArray[np.float64], ...]:
    """Kernels that are strong inside hidden groups of channels; and the hidden groups."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.arange(out * groups) % groups)[: out * groups].reshape(-1)
    rows, columns = (rng.permutation(np.repeat(np.arange(groups), n)) for n in (out, inputs))
    inside = rows[:, None] == columns[None, :]
    return np.where(inside, rng.uniform(1, 2, inside.shape), rng.uniform(0, noise, inside.shape)), inside


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**16))
def test_groups_are_balanced_and_hold_each_channel_once(out: int, inputs: int, groups: int, seed: int) -> None:
    worth = np.random.default_rng(seed).random((out * groups, inputs * groups))
    found = group_channels(worth, groups)
    assert sorted(found.outputs) == list(range(out * groups))
    assert sorted(found.inputs) == list(range(inputs * groups))
    mask = found.mask()
    assert (mask.sum(axis=1) == inputs).all()
    assert (mask.sum(axis=0) == out).all()


@pytest.mark.parametrize(("out", "inputs", "groups"), BLOCKS)
@pytest.mark.parametrize("seed", range(3))
def test_planted_groups_are_found_whatever_the_order_of_channels(out: int, inputs: int, groups: int, seed: int) -> None:
    worth, inside = planted(out, inputs, groups, seed, noise=0.05)
    assert np.array_equal(group_channels(worth, groups).mask(), inside)


def test_noise_still_leaves_most_of_the_worth_inside() -> None:
    worth, inside = planted(16, 16, 4, 0, noise=0.9)
    found = group_channels(worth, 4).mask()
    assert (worth[found] ** 2).sum() > 0.85 * (worth[inside] ** 2).sum()
    assert (worth[found] ** 2).sum() > 1.5 * (worth**2).sum() / 4


def test_the_same_worth_gives_the_same_groups() -> None:
    worth = np.random.default_rng(0).random((12, 8))
    first, second = group_channels(worth, 4), group_channels(worth.copy(), 4)
    assert np.array_equal(first.outputs, second.outputs)
    assert np.array_equal(first.inputs, second.inputs)


@pytest.mark.parametrize("worth", [np.zeros((4, 4)), np.ones((4, 4))], ids=["zeros", "ones"])
def test_worth_that_tells_nothing_apart_is_split_all_the_same(worth: NDArray[np.float64]) -> None:
    assert group_channels(worth, 2).mask().sum() == 8


@pytest.mark.parametrize("shape", [(5, 4), (4, 5)])
def test_widths_that_do_not_divide_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{shape[0]} x {shape[1]} channels do not split into 2 equal groups"):
        group_channels(np.ones(shape), 2)


@pytest.mark.parametrize("bias", [True, False])
def test_a_split_convolution_is_the_one_whose_other_kernels_are_zero(bias: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(6, 4, 3, stride=2, padding=1, bias=bias, padding_mode="reflect"))
    rng = np.random.default_rng(0)
    grouping = Grouping(2, inputs=rng.permutation(6), outputs=rng.permutation(4))
    x = torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        whole = network[0].weight.clone()
        network[0].weight *= torch.from_numpy(grouping.mask())[:, :, None, None]
        wanted = network(x)
        network[0].weight.copy_(whole)
        split(network, "0", grouping)
        torch.testing.assert_close(network(x), wanted)
    assert network[0].conv.weight.shape == (4, 3, 3, 3)
