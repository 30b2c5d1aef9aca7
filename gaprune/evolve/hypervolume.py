"""The hypervolume of a front: how much of the objective space it dominates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gaprune.evolve.dominance import is_efficient
from gaprune.prune.genome import Floats


def hypervolume(Y: ArrayLike, reference: ArrayLike) -> float:
    """Volume that is dominated by ``Y`` and dominates ``reference``.

    Exact, after the WFG idea: points are added one by one, each with what it covers alone (While, Bradstreet,
    Barone, "A fast way of calculating exact hypervolumes", IEEE TEVC 16(1), 2012).

    Args:
        Y: (n, m) array, minimised, in any order; dominated, infinite and outside points add nothing.
        reference: (m,) point that is worse than all that should count.

    Raises:
        ValueError: the shapes do not fit, or there is a NaN.
    """
    points, corner = np.asarray(Y, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or corner.shape != points.shape[1:]:
        raise ValueError(f"expected (n, m) points and an (m,) reference, got {points.shape} and {corner.shape}")
    if np.isnan(points).any() or np.isnan(corner).any():
        raise ValueError("the hypervolume of NaN is not defined")
    return _volume((corner - points)[(points < corner).all(axis=1)])


def _volume(extents: Floats) -> float:
    """Volume of the union of boxes that share a corner, given their (n, m) positive extents."""
    if len(extents) == 0:
        return 0.0
    if extents.shape[1] == 1:
        return float(extents.max())
    extents = extents[np.argsort(-extents[:, -1], kind="stable")]
    if extents.shape[1] == 2:
        heights = np.maximum.accumulate(extents[:, 0])
        return float(np.sum(np.diff(heights, prepend=0.0) * extents[:, 1]))
    extents = extents[is_efficient(-extents)]
    volume = 0.0
    for index, extent in enumerate(extents):
        inner = extent[:-1]
        covered = np.minimum(extents[:index, :-1], inner)
        volume += float(extent[-1]) * (float(np.prod(inner)) - _volume(covered))
    return volume
