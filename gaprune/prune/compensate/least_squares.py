"""The weights over kept inputs that come nearest to a layer's output, from second moments alone."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge(covariance: Tensor, mean: Tensor, damping: float | Tensor) -> Tensor:
    """What is added to every variance: ``damping`` times the mean one, and what rounding alone may leave.

    Inputs that never vary have no variance of their own.

    Args:
        covariance: (..., n, n).
        mean: (..., n).
        damping: one for all, or (...).
    """
    share = 45 * torch.finfo(covariance.dtype).eps
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    noise = share * (variances + mean.square()).mean(-1)
    return damping * variances.mean(-1) + noise.clamp_min(1e-30)


def kept_weights(
    weight: Tensor, target: Tensor, covariance: Tensor, mean: Tensor, kept: Tensor, damping: float
) -> Tensor:
    """V that minimises E|weight p - V p_K - constant|^2 + ridge |V - weight_K|^2.

    The error never exceeds that of ``weight_K``, which is where the ridge pulls to; with nothing removed V is the
    weight itself.

    Args:
        weight: (out, n), of the original.
        target: (out, n), ``weight @ covariance``.
        covariance: (n, n) of the inputs p.
        mean: (n,) of the inputs.
        kept: (k,) int64 indices of the kept inputs.
        damping: the ridge, relative to the mean variance of the inputs.

    Returns:
        (out, k), in the type of ``covariance``.
    """
    among = covariance.index_select(0, kept).index_select(1, kept)
    start = weight.index_select(1, kept)
    missing = target.index_select(1, kept) - start @ among
    among.diagonal().add_(ridge(covariance, mean, damping))
    return start + solve(among, missing.T).T


def damped_inverse(covariance: Tensor, mean: Tensor, damping: float) -> Tensor:
    """(n, n) inverse of the covariance plus its ridge; solved in float64, in the type of ``covariance``."""
    damped = covariance.double()
    damped.diagonal().add_(ridge(covariance, mean, damping).double())
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(damped)[0]).to(covariance.dtype)


def kept_weights_by_inverse(weight: Tensor, inverse: Tensor, kept: Tensor, removed: Tensor) -> Tensor:
    """The same V as ``kept_weights`` gives, for the price of a solve over the removed inputs, not over the kept.

    With P the inverse of the covariance plus its ridge, V = weight_K - weight_R (P_RR)^-1 P_RK: many channels removed
    at once as optimal brain surgeon removes one.

    Args:
        weight: (out, n), of the original.
        inverse: (n, n), as ``damped_inverse`` gives it.
        kept: (k,) int64 indices.
        removed: (r,) int64 indices, all others.
    """
    rows = inverse.index_select(0, removed)
    share = solve(rows.index_select(1, removed), weight.index_select(1, removed).T).T
    return weight.index_select(1, kept) - share @ rows.index_select(1, kept)


def best_damping(
    weight: Tensor, covariance: Tensor, mean: Tensor, kept: Tensor, held_out: Tensor, dampings: tuple[float, ...]
) -> float:
    """The damping whose ``kept_weights`` predict the output best on inputs that were not fitted.

    Args:
        weight: (out, n).
        covariance: (n, n) of the fitted inputs.
        mean: (n,) of the fitted inputs.
        kept: (k,) int64 indices that stay in the trial.
        held_out: (m, n) inputs.
        dampings: to choose from.
    """
    centred = held_out - mean
    wanted = centred @ weight.T
    target = weight @ covariance
    errors = [
        (wanted - centred[:, kept] @ kept_weights(weight, target, covariance, mean, kept, damping).T).square().sum()
        for damping in dampings
    ]
    return dampings[int(torch.stack(errors).argmin())]


def solve(matrix: Tensor, right: Tensor) -> Tensor:
    """``matrix``^-1 ``right`` for positive definite (..., n, n); in float64 where single precision is too coarse.

    CUDA solves in float64 at once, because looking at the outcome would stop the host.
    """
    if matrix.is_cuda:
        factor, _ = torch.linalg.cholesky_ex(matrix.double())
        return torch.cholesky_solve(right.double(), factor).to(right.dtype)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed.any():
        return torch.cholesky_solve(right, factor)
    found: Tensor = torch.linalg.solve(matrix.double(), right.double())
    return found.to(right.dtype)
