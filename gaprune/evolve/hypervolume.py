"""The hypervolume of a front: how much of the objective space it dominates."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike


def hypervolume(Y: ArrayLike, reference: ArrayLike) -> float:
    """Volume that is dominated by ``Y`` and dominates ``reference``.

    Exact, by moocore (Fonseca, Paquete, López-Ibáñez, "An improved dimension-sweep algorithm for the hypervolume
    indicator", CEC 2006).

    Args:
        Y: (n, m) array, minimised, in any order; dominated, infinite and outside points add nothing.
        reference: (m,) point that is worse than all that should count.

    Raises:
        ValueError: the shapes do not fit, or there is a NaN.

    Example:
        >>> hypervolume([[0.25, 0.5], [0.5, 0.25]], (1.0, 1.0))
        0.5
    """
    points, corner = np.asarray(Y, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim != 2 or corner.shape != points.shape[1:]:
        raise ValueError(f"expected (n, m) points and an (m,) reference, got {points.shape} and {corner.shape}")
    if np.isnan(points).any() or np.isnan(corner).any():
        raise ValueError("the hypervolume of NaN is not defined")
    inside = points[(points < corner).all(axis=1)]
    return float(moocore.hypervolume(inside, corner)) if len(inside) else 0.0
