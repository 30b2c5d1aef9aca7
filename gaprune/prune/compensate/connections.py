"""Connections: the kept kernels of a layer re-solved, and the order in which kernels can go.

Every output channel reads a set of inputs of its own. With C the covariance of the layer's input and e the ridge, the
kept kernels K of a row make up for the removed ones R by w_K += (C_KK + e I)^-1 C_KR w_R, tap by tap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gaprune.genome import Floats
from gaprune.prune.compensate.least_squares import ridge

CHUNK = 2**22
"""Numbers in one batch of matrices: 32 MB, of which a thread holds about three at a time."""

CUDA_CHUNK = 2**26
"""The same on a GPU, which is quicker with fewer and larger ones: 512 MB."""

DELAY = 64
"""Kernels a row that go before the inverse covariances are brought up to date."""

MOST_WORK = 2**39
"""Outputs x inputs^3 up to which kernels go one by one; 8 times a layer of 512 x 512."""

Found = TypeVar("Found")


def resolve_kernels(
    weight: Tensor, kept: Tensor, covariance: Tensor, damping: float, mean: Tensor | None = None
) -> Tensor:
    """The kept kernels of every row, which make up for the removed ones; zeros where not kept.

    Rows of one and the same kept set are solved together, others in batches, all in float64. A row that keeps
    everything stays as it is. The constant part is the caller's: (weight - found) times the inputs' means belongs into
    the bias.

    Args:
        weight: (out, in, taps), the rows that are wanted over all original inputs.
        kept: (out, in) boolean.
        covariance: (in, in) float64 of the inputs.
        damping: relative to the mean variance.
        mean: (in,) of the inputs, which says what rounding may leave in ``covariance``; ``None`` takes zeros.

    Returns:
        (out, in, taps) float64.
    """
    rows = weight.double()
    noise = ridge(covariance, covariance.new_zeros(len(covariance)) if mean is None else mean, damping)
    gone = rows * ~kept[:, :, None]
    wanted = torch.einsum("ij,ojt->oit", covariance, gone)
    gained = torch.zeros_like(rows)
    if kept.is_cuda:  # looking at the mask would stop the host
        every = torch.arange(len(rows), device=kept.device)
        batches = list(torch.split(every, max(CUDA_CHUNK // len(covariance) ** 2, 1)))
    else:
        batches = _batches(kept)

    def solve(ours: Tensor) -> None:
        gained[ours] = _gains(covariance, noise, kept[ours], wanted[ours])

    _each(solve, batches)
    return (rows + gained) * kept[:, :, None]


def kernel_worth(weight: Tensor, covariance: Tensor, damping: float) -> Floats:
    """Worth of every kernel by the order in which they can go: optimal brain surgeon within each row, one by one.

    Kernel i of a row costs |w_i|^2 / [C^-1]_ii over the row's remaining inputs (Hassibi and Stork 1993, over taps); the
    cheapest goes, the rest make up for it. The worth of a kernel is the error that it adds to its row when it goes, or
    any before it, as a share of the layer's output energy. So kernels below a bound, whatever their rows, are those
    whose removal adds least, and worth rises along the order of a row.

    Layers of more than ``MOST_WORK`` get the cost of each kernel's going alone instead.

    Args:
        weight: (out, in, taps).
        covariance: (in, in) float64 of the inputs.
        damping: relative to the mean variance.

    Returns:
        (out, in) float64.
    """
    out, inputs, _ = weight.shape
    rows = torch.nan_to_num(weight.double())
    damped = covariance.clone()
    damped.diagonal().add_(ridge(covariance, covariance.new_zeros(inputs), damping))
    inverse = torch.linalg.inv(damped)
    energy = float(torch.einsum("oit,ij,ojt->", rows, covariance, rows))
    if out * inputs**3 > MOST_WORK:
        added = rows.square().sum(2) / inverse.diagonal()
    else:
        chunks = torch.split(rows, max((CUDA_CHUNK if rows.is_cuda else CHUNK) // inputs**2, 1))
        added = torch.cat(_each(lambda chunk: _worth_in_turn(chunk, inverse), chunks))
    scaled: Floats = (added / (energy if energy > 0 else 1.0)).cpu().numpy()
    return scaled


def _worth_in_turn(rows: Tensor, inverse: Tensor) -> Tensor:
    """(rows, in): the largest error added so far when a kernel goes; ties rise a little with the turn."""
    count, inputs, _ = rows.shape
    elimination = _Elimination(rows, inverse)
    worth = torch.zeros((count, inputs), dtype=rows.dtype, device=rows.device)
    largest = torch.zeros(count, dtype=rows.dtype, device=rows.device)
    for turn in range(inputs):
        column, added = elimination.step()
        largest = torch.maximum(largest, added.clamp_min(0.0))
        worth.scatter_(1, column[:, None], (largest * (1 + 1e-9 * turn) + 1e-300 * turn)[:, None])
    return worth


class _Elimination:
    """Rows of one layer while their kernels go, one of each row at a time.

    The inverse covariances lose a rank-one term a step. ``DELAY`` terms are collected and subtracted at once, over the
    columns that are left by then; until then only the row of the pivot and the diagonal are up to date. So a step costs
    O(DELAY in) a row, and nothing is approximated.

    Args:
        rows: (rows, in, taps) float64 weights.
        inverse: (in, in), of the damped covariance.
    """

    def __init__(self, rows: Tensor, inverse: Tensor) -> None:
        self._every = torch.arange(len(rows), device=rows.device)
        self._weight = rows.transpose(1, 2).contiguous()  # (rows, taps, in)
        self._inverse = inverse.expand(len(rows), *inverse.shape)
        self._columns = torch.arange(len(inverse), device=rows.device).expand(len(rows), -1)
        self._start()

    def step(self) -> tuple[Tensor, Tensor]:
        """Remove the cheapest kernel of every row: (rows,) its input channel and (rows,) the error that it adds."""
        if self._pending == DELAY:
            self._catch_up()
        costs = self._weight.square().sum(1) / self._diagonal.clamp_min(1e-300)
        costs.masked_fill_(self._gone, torch.inf)
        added, place = costs.min(1)
        pivot = self._diagonal[self._every, place].clamp_min(1e-300)
        before = self._terms[:, : self._pending]
        row = self._inverse[self._every, place]
        if self._pending:
            row = row - (before[self._every, :, place][:, None] @ before)[:, 0]
        term = row / pivot.sqrt()[:, None]
        share = row / pivot[:, None]
        self._weight.addcmul_(self._weight[self._every, :, place][:, :, None], share[:, None], value=-1)
        self._diagonal -= term.square()
        self._gone[self._every, place] = True
        self._terms[:, self._pending] = term
        self._pending += 1
        return self._columns[self._every, place], added

    def _start(self) -> None:
        shape = (len(self._every), DELAY, self._inverse.shape[2])
        self._pending = 0
        self._terms = self._weight.new_empty(shape)
        self._diagonal = self._inverse.diagonal(dim1=1, dim2=2).clone()
        self._gone = torch.zeros_like(self._diagonal, dtype=torch.bool)

    def _catch_up(self) -> None:
        """Subtract what is pending, over the columns that are left: as many in each row."""
        left = (~self._gone).nonzero()[:, 1].view(len(self._every), -1)
        terms = self._terms.gather(2, left[:, None].expand(-1, DELAY, -1))
        inverse = self._inverse[self._every[:, None, None], left[:, :, None], left[:, None]]
        self._inverse = inverse.baddbmm_(terms.mT, terms, alpha=-1)
        self._weight = self._weight.take_along_dim(left[:, None], 2)
        self._columns = self._columns.gather(1, left)
        self._start()


def _each(function: Callable[[Tensor], Found], batches: Sequence[Tensor]) -> list[Found]:
    """``function`` of every batch. On the CPU each takes one thread of those that there are.

    Small matrices gain nothing from several threads, and lose much where other programs keep the cores busy.
    """
    threads = torch.get_num_threads()
    if not batches or batches[0].is_cuda:
        return [function(batch) for batch in batches]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, batches))
    finally:
        torch.set_num_threads(threads)


def _batches(kept: Tensor) -> list[Tensor]:
    """Rows to solve together, (rows,) int64: those of one kept set, and those that share theirs with none by width.

    Rows that keep nothing or everything are left out.
    """
    masks = kept.numpy()
    widths = masks.sum(1)
    partly = np.flatnonzero((widths > 0) & ~masks.all(1))
    sets: dict[bytes, list[int]] = {}
    for row, bits in zip(partly, np.packbits(masks[partly], axis=1), strict=True):
        sets.setdefault(bits.tobytes(), []).append(int(row))
    alone = np.array([rows[0] for rows in sets.values() if len(rows) == 1], dtype=np.int64)
    found = [torch.tensor(rows) for rows in sets.values() if len(rows) > 1]
    if len(alone):
        alone = alone[np.argsort(widths[alone], kind="stable")]
        found += torch.split(torch.from_numpy(alone), max(CHUNK // int(widths[alone[-1]]) ** 2, 1))
    return found


def _gains(covariance: Tensor, noise: Tensor, kept: Tensor, wanted: Tensor) -> Tensor:
    """(C_KK + e I)^-1 of what is ``wanted`` over each row's kept set, zero elsewhere; both (rows, in, taps)."""
    inputs = len(covariance)
    masks = kept[:1] if not kept.is_cuda and bool((kept == kept[0]).all()) else kept
    width = inputs if kept.is_cuda else int(masks.sum(1).max())
    order = torch.argsort(~masks, dim=1, stable=True)[:, :width]
    places = torch.where(masks.gather(1, order), order, inputs)
    padded = F.pad(covariance, (0, 1, 0, 1))  # the last column stands for none
    among = padded[places[:, :, None], places[:, None]]
    among.diagonal(dim1=1, dim2=2).add_(torch.where(places < inputs, noise, 1.0))
    places = places.expand(len(kept), -1)[:, :, None].expand(-1, -1, wanted.shape[2])
    right = F.pad(wanted, (0, 0, 0, 1)).gather(1, places)
    if len(masks) < len(kept):  # one matrix, all rows at once
        found = _solved(among[0], right.transpose(0, 1).flatten(1)).reshape(width, len(kept), -1).transpose(0, 1)
    else:
        found = _solved(among, right)
    return F.pad(torch.zeros_like(wanted), (0, 0, 0, 1)).scatter_(1, places, found)[:, :-1]


def _solved(matrices: Tensor, right: Tensor) -> Tensor:
    """``matrices``^-1 ``right``, positive definite; by least squares where rounding left something else."""
    factor, failed = torch.linalg.cholesky_ex(matrices)
    half: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
    found: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    if not matrices.is_cuda and failed.any():
        least = torch.linalg.pinv(matrices, hermitian=True) @ right
        return torch.where((failed > 0)[..., None, None], least, found)
    return found
