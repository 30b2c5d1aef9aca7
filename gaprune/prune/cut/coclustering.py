"""Which channels share a group when a convolution becomes a grouped one: balanced co-clustering."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaprune.genome import Floats
from gaprune.prune.cut.masks import Grouping

ALTERNATIONS = 3
"""Alternations between outputs and inputs; more change little."""

POWER_STEPS = 12
"""Steps of the power iteration that finds the starting order; it need not converge."""


def group_channels(worth: Floats, groups: int) -> Grouping:
    """Split outputs and inputs into equal groups that keep as much squared worth inside as can be found.

    Alternates balanced greedy assignments of outputs given the inputs' groups and of inputs given the
    outputs', from the order of the centred energies' first singular vector. Deterministic.

    Args:
        worth: (out, in) importance of each kernel.
        groups: number of groups; divides both widths.

    Raises:
        ValueError: a width is not a multiple of ``groups``.
    """
    out, inputs = worth.shape
    if out % groups or inputs % groups:
        raise ValueError(f"{out} x {inputs} channels do not split into {groups} equal groups")
    energy = worth**2
    row_group = _by_rank(_leading(energy - energy.mean(axis=0, keepdims=True)), groups)
    column_group = np.zeros(inputs, dtype=np.int64)
    for _ in range(ALTERNATIONS):
        column_group = _assign(_gather(energy.T, row_group, groups))
        row_group = _assign(_gather(energy, column_group, groups))
    order = np.argsort(row_group, kind="stable"), np.argsort(column_group, kind="stable")
    return Grouping(groups, inputs=order[1], outputs=order[0])


def _by_rank(values: Floats, groups: int) -> NDArray[np.int64]:
    group = np.empty(len(values), dtype=np.int64)
    group[np.argsort(values, kind="stable")] = np.arange(len(values)) * groups // len(values)
    return group


def _gather(energy: Floats, group: NDArray[np.int64], groups: int) -> Floats:
    """(rows, groups): how much of each row lies in each group of columns."""
    return np.stack([energy[:, group == g].sum(axis=1) for g in range(groups)], axis=1)


def _leading(matrix: Floats) -> Floats:
    """(rows,) left singular vector of the largest singular value, by power iteration from a fixed start."""
    vector = np.arange(1.0, len(matrix) + 1)
    for _ in range(POWER_STEPS):
        vector = matrix @ (matrix.T @ vector)
        norm = np.linalg.norm(vector)
        if norm == 0:
            return np.arange(1.0, len(matrix) + 1)
        vector /= norm
    return vector


def _assign(gain: Floats) -> NDArray[np.int64]:
    """(rows,) group of each row, all groups equally large: the largest remaining gain is served first."""
    rows, groups = gain.shape
    advantage = gain - gain.mean(axis=1, keepdims=True)
    room = [rows // groups] * groups
    chosen = np.full(rows, -1, dtype=np.int64)
    for place in np.argsort(-advantage, axis=None, kind="stable"):
        row, group = divmod(int(place), groups)
        if chosen[row] < 0 and room[group] > 0:
            chosen[row] = group
            room[group] -= 1
    return chosen
