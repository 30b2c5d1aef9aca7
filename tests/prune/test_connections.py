from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gaprune.prune.compensate import connections
from gaprune.prune.compensate.connections import kernel_worth, resolve_kernels


def layer(out: int, inputs: int, taps: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights, and a covariance with strongly correlated inputs."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, 2 * inputs, generator=generator, dtype=torch.float64).cumsum(0)
    weight = torch.randn(out, inputs, taps, generator=generator, dtype=torch.float64)
    return weight, mixed @ mixed.T / (2 * inputs)


def some(out: int, inputs: int, share: float = 0.5, seed: int = 0) -> Tensor:
    return torch.rand(out, inputs, generator=torch.Generator().manual_seed(seed)) < share


def by_rows(weight: Tensor, kept: Tensor, covariance: Tensor, damping: float) -> Tensor:
    """The formula, row by row."""
    found = torch.zeros_like(weight)
    damped = covariance + damping * covariance.diagonal().mean() * torch.eye(len(covariance)).double()
    for row, mask in enumerate(kept):
        k, r = mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]
        if len(k):
            gained = torch.linalg.inv(damped[k][:, k]) @ covariance[k][:, r] @ weight[row, r]
            found[row, k] = weight[row, k] + gained
    return found


def lost(weight: Tensor, new: Tensor, covariance: Tensor) -> float:
    """Output error as a share of the output's energy."""
    missing = weight - new
    wrong, whole = (float(torch.einsum("oit,ij,ojt->", w, covariance, w)) for w in (missing, weight))
    return wrong / whole


def grouped_mask() -> Tensor:
    kept = torch.zeros(9, 6, dtype=torch.bool)
    for group in range(3):
        kept[3 * group : 3 * group + 3, 2 * group : 2 * group + 2] = True
    return kept


def edges_mask() -> Tensor:
    kept = some(9, 6)
    kept[0], kept[1], kept[2] = True, False, kept[3]
    return kept


@pytest.mark.parametrize(
    "kept", [some(9, 6), grouped_mask(), edges_mask(), some(9, 6, 1.1), some(9, 6, -0.1), some(40, 12, 0.3)]
)
def test_each_row_is_solved_over_what_it_keeps(kept: Tensor) -> None:
    weight, covariance = layer(*kept.shape)
    found = resolve_kernels(weight, kept, covariance, 1e-3)
    torch.testing.assert_close(found, by_rows(weight, kept, covariance, 1e-3), rtol=1e-9, atol=1e-9)
    assert (found[~kept] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95), st.integers(1, 7), st.integers(1, 6))
def test_no_row_gets_worse_than_without_its_removed_kernels(seed: int, share: float, out: int, inputs: int) -> None:
    weight, covariance = layer(out, inputs, seed=seed)
    kept = some(out, inputs, share, seed)
    found = resolve_kernels(weight, kept, covariance, 1e-10)
    for row in range(out):
        plain = weight[row : row + 1] * kept[row, :, None]
        errors = [lost(weight[row : row + 1], new, covariance) for new in (found[row : row + 1], plain)]
        assert errors[0] <= errors[1] * (1 + 1e-6) + 1e-12


def test_removed_inputs_that_are_affine_in_the_kept_ones_go_without_any_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(4, 200, generator=generator, dtype=torch.float64)
    mix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    x = torch.cat([base, mix @ base + torch.tensor([[5.0], [0.0], [-3.0], [1.0]])])
    weight = torch.randn(6, 8, 1, generator=generator, dtype=torch.float64)
    kept = torch.ones(6, 8, dtype=torch.bool)
    for row, gone in enumerate(((4, 5, 6, 7), (0, 1, 2, 3), (4, 6), (4, 5, 6, 7), (0, 5, 3), ())):
        kept[row, list(gone)] = False
    mean = x.mean(1)
    found = resolve_kernels(weight, kept, torch.cov(x, correction=0), 1e-13, mean)
    bias = ((weight - found)[:, :, 0] * mean).sum(1)
    wanted, got = weight[:, :, 0] @ x, found[:, :, 0] @ x + bias[:, None]
    assert float((got - wanted).abs().max() / wanted.abs().max()) < 1e-8


def test_batches_of_any_size_give_the_same(monkeypatch: Any) -> None:
    weight, covariance = layer(20, 10)
    kept = some(20, 10)
    whole = resolve_kernels(weight, kept, covariance, 1e-3)
    for chunk in (1, 150):
        monkeypatch.setattr(connections, "CHUNK", chunk)
        torch.testing.assert_close(resolve_kernels(weight, kept, covariance, 1e-3), whole)


def test_single_precision_weights_are_solved_in_double_precision() -> None:
    weight, covariance = layer(5, 6)
    kept = some(5, 6)
    found = resolve_kernels(weight.float(), kept, covariance, 1e-3)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_rows(weight.float().double(), kept, covariance, 1e-3))


@pytest.mark.parametrize("rounding", [0.0, -1e-12])
def test_inputs_that_never_vary_are_no_obstacle(rounding: float) -> None:
    weight, _ = layer(5, 6)
    found = resolve_kernels(weight, some(5, 6), torch.full((6, 6), rounding, dtype=torch.float64), 1e-3)
    assert torch.isfinite(found).all()
    assert np.isfinite(kernel_worth(weight, torch.zeros(6, 6, dtype=torch.float64), 1e-3)).all()


def test_the_number_of_threads_stays_as_it_was() -> None:
    before = torch.get_num_threads()
    weight, covariance = layer(5, 6)
    kernel_worth(weight, covariance, 1e-3)
    resolve_kernels(weight, some(5, 6), covariance, 1e-3)
    assert torch.get_num_threads() == before


def test_kernels_go_in_the_order_and_at_the_errors_that_brute_force_finds() -> None:
    weight, covariance = layer(5, 7)
    worth = kernel_worth(weight, covariance, 1e-14)
    energy = float(torch.einsum("oit,ij,ojt->", weight, covariance, weight))
    for row in range(5):

        def error(gone: list[int], row: int = row) -> float:
            kept = torch.ones(1, 7, dtype=torch.bool)
            kept[0, gone] = False
            whole = weight[row : row + 1]
            new = by_rows(whole, kept, covariance, 0.0)
            return float(torch.einsum("oit,ij,ojt->", whole - new, covariance, whole - new)) / energy

        gone: list[int] = []
        largest = 0.0
        for column in np.argsort(worth[row]):
            errors = {i: error([*gone, i]) for i in range(7) if i not in gone}
            assert column == min(errors, key=errors.__getitem__)
            largest = max(largest, errors[int(column)] - error(gone))
            assert worth[row, column] == pytest.approx(largest, rel=1e-5)
            gone.append(int(column))


@pytest.mark.parametrize(("delay", "chunk"), [(1, 2**22), (3, 2**22), (64, 1), (5, 600)])
def test_delayed_updates_and_batches_change_no_worth(monkeypatch: Any, delay: int, chunk: int) -> None:
    weight, covariance = layer(6, 17)
    whole = kernel_worth(weight, covariance, 1e-3)
    monkeypatch.setattr(connections, "DELAY", delay)
    monkeypatch.setattr(connections, "CHUNK", chunk)
    np.testing.assert_allclose(kernel_worth(weight, covariance, 1e-3), whole, rtol=1e-8)


def least(worth: NDArray[np.float64], share: float) -> Tensor:
    """What is kept when the kernels of least worth go, whatever their rows."""
    return torch.from_numpy(worth > np.quantile(worth, 1 - share))


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3])
def test_the_error_lies_far_below_that_of_an_order_by_norms(share: float) -> None:
    weight, covariance = layer(16, 48)
    weight *= torch.logspace(-1, 1, 16)[:, None, None]  # rows of very different energy
    norms = weight.square().sum(2).sqrt().numpy()
    within = norms / norms.mean(1, keepdims=True)
    errors = [
        lost(weight, resolve_kernels(weight, least(worth, share), covariance, 1e-6), covariance)
        for worth in (kernel_worth(weight, covariance, 1e-6), norms, within)
    ]
    assert errors[0] < 0.5 * min(errors[1:])


def test_kernels_that_read_nothing_that_varies_go_first_and_the_last_of_a_row_is_worth_most() -> None:
    weight, covariance = layer(5, 6)
    covariance[2] = covariance[:, 2] = 0.0
    worth = kernel_worth(weight, covariance, 1e-6)
    assert (worth.argmin(1) == 2).all()
    for row in worth:
        assert len(np.unique(row)) == len(row)


def test_layers_that_are_too_large_are_judged_kernel_by_kernel(monkeypatch: Any) -> None:
    weight, covariance = layer(5, 6)
    monkeypatch.setattr(connections, "MOST_WORK", 5 * 6**3 - 1)
    found = kernel_worth(weight, covariance, 1e-12)
    energy = float(torch.einsum("oit,ij,ojt->", weight, covariance, weight))
    wanted = weight.square().sum(2) / torch.linalg.inv(covariance).diagonal() / energy
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5)
