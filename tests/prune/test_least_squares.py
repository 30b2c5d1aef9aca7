"""Both ways to the kept weights, and where they lead."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gaprune.prune.compensate.least_squares import damped_inverse, kept_weights, kept_weights_by_inverse, solve


def problem(n: int = 24, out: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, covariance and mean of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, n, generator=generator, dtype=torch.float64)
    rows = rows @ torch.randn(n, n, generator=generator, dtype=torch.float64) + 1.0
    weight = torch.randn(out, n, generator=generator, dtype=torch.float64)
    return weight.to(dtype), torch.cov(rows.T, correction=0).to(dtype), rows.mean(0).to(dtype)


def error(weight: Tensor, covariance: Tensor, kept: Tensor, new: Tensor) -> float:
    missed = weight.clone()
    missed[:, kept] -= new
    return float(((missed @ covariance) * missed).sum())


@pytest.mark.parametrize("gone", [1, 5, 12, 20, 23])
def test_both_ways_give_the_same_weights(gone: int) -> None:
    weight, covariance, mean = problem()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(gone))
    removed, kept = order[:gone].sort().values, order[gone:].sort().values
    for damping in (1e-4, 1e-2, 1.0):
        direct = kept_weights(weight, weight @ covariance, covariance, mean, kept, damping)
        inverse = damped_inverse(covariance, mean, damping)
        torch.testing.assert_close(kept_weights_by_inverse(weight, inverse, kept, removed), direct)


@pytest.mark.parametrize("damping", [1e-3, 1e-1])
def test_single_precision_errs_no_more_than_a_thousandth_above_double(damping: float) -> None:
    weight, covariance, mean = problem()
    kept, removed = torch.arange(8, 24), torch.arange(8)
    best = kept_weights(weight, weight @ covariance, covariance, mean, kept, damping)
    w, c, m = problem(dtype=torch.float32)
    least = error(weight, covariance, kept, best)
    for found in (
        kept_weights(w, w @ c, c, m, kept, damping),
        kept_weights_by_inverse(w, damped_inverse(c, m, damping), kept, removed),
    ):
        assert error(weight, covariance, kept, found.double()) < 1.001 * least


def test_the_error_grows_with_damping_up_to_that_of_the_weights_as_cut() -> None:
    weight, covariance, mean = problem()
    kept = torch.arange(0, 24, 2)
    target = weight @ covariance
    errors = [
        error(weight, covariance, kept, kept_weights(weight, target, covariance, mean, kept, damping))
        for damping in (0.0, 1e-3, 1e-1, 1e1, 1e6)
    ]
    assert errors == sorted(errors)
    assert errors[-1] <= error(weight, covariance, kept, weight[:, kept])
    assert errors[-1] == pytest.approx(error(weight, covariance, kept, weight[:, kept]), rel=1e-3)


def test_a_matrix_that_single_precision_cannot_factor_is_solved_all_the_same() -> None:
    vector = torch.randn(30, 1, generator=torch.Generator().manual_seed(0))
    matrix = vector @ vector.T
    matrix.diagonal().add_(1e-9)
    right = matrix @ torch.ones(30, 2)
    assert torch.linalg.cholesky_ex(matrix)[1] > 0
    torch.testing.assert_close(matrix @ solve(matrix, right), right, rtol=1e-3, atol=1e-3)
