"""A guess at objectives that were not evaluated: Gaussian processes over profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from gaprune.genome import Floats

JITTER = 1e-8
START = (1.0, 0.3, 0.3, 1.0, 0.1)
"""Amplitudes of trend, slopes and bends, common length, noise; relative to the standard deviation told."""

BOUNDS = ((0.05, 20.0), (1e-3, 10.0), (1e-3, 5.0), (0.1, 10.0), (1e-4, 1.0))
ITERATIONS = 40


@dataclass(frozen=True)
class _Pairs:
    """What the kernel needs to know of two lists of profiles: (n, m) arrays."""

    trend: Floats
    slopes: Floats
    bends: Floats

    @classmethod
    def of(cls, a: Floats, b: Floats) -> _Pairs:
        trend = (a[:, None, 0] - b[None, :, 0]) ** 2
        x, y = a[:, 1:], b[:, 1:]
        slopes = x @ y.T
        apart = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * slopes
        return cls(trend, slopes, trend + np.maximum(apart, 0.0))

    def kernel(self, settings: Floats) -> Floats:
        trend, slope, bend, length, _ = settings
        scale = -0.5 / length**2
        found: Floats = (
            trend**2 * np.exp(scale * self.trend) + slope**2 * self.slopes + bend**2 * np.exp(scale * self.bends)
        )
        return found


class Surrogate:
    """One objective as a smooth trend over the cost, slopes in the departures from ladder and order, and bends.

    The slopes hold at every cost: what is learnt of a section at one budget serves at another. All five settings are
    those of the largest marginal likelihood (Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006,
    equation 5.8).

    Args:
        profiles: (n, d) as ``Profiler`` makes them, n at least 3.
        values: (n,) finite.
        settings: (5,) to take as they are, of a surrogate that knew most of this; fitted if None.

    Attributes:
        settings: (5,) amplitudes of trend, slopes and bends, common length, noise.
    """

    def __init__(self, profiles: Floats, values: Floats, settings: Floats | None = None) -> None:
        self._profiles = profiles
        self._mean = float(values.mean())
        self._scale = max(float(values.std()), 1e-12)
        self._values = (values - self._mean) / self._scale
        self._pairs = _Pairs.of(profiles, profiles)
        self.settings: Floats = self._fitted() if settings is None else settings
        self._factor = self._cholesky(self.settings)
        self._weights: Floats = cho_solve((self._factor, True), self._values)

    @property
    def explained(self) -> float:
        """Share of the variance that leaving one out explains; below 0 where a constant would do better.

        Rasmussen, Williams 2006, equation 5.12.
        """
        inverse = cho_solve((self._factor, True), np.eye(len(self._values)))
        missed = self._weights / np.diag(inverse)
        return 1.0 - float((missed**2).mean())

    def predict(self, profiles: Floats) -> Floats:
        """(m,) expected values at (m, d) profiles."""
        across = _Pairs.of(profiles, self._profiles).kernel(self.settings)
        found: Floats = self._mean + self._scale * (across @ self._weights)
        return found

    def _fitted(self) -> Floats:
        bounds, options = np.log(BOUNDS), {"maxiter": ITERATIONS}
        found = minimize(self._misfit, np.log(START), method="L-BFGS-B", bounds=bounds, options=options)
        settings: Floats = np.exp(found.x)
        return settings

    def _misfit(self, logs: Floats) -> float:
        """Negative logarithm of the marginal likelihood, but for a constant."""
        try:
            factor = self._cholesky(np.exp(logs))
        except np.linalg.LinAlgError:
            return 1e12
        weights = cho_solve((factor, True), self._values)
        return 0.5 * float(self._values @ weights) + float(np.log(np.diag(factor)).sum())

    def _cholesky(self, settings: Floats) -> Floats:
        matrix = self._pairs.kernel(settings)
        matrix[np.diag_indices_from(matrix)] += settings[-1] ** 2 + JITTER * math.fsum(s**2 for s in settings[:3])
        factor: Floats = cholesky(matrix, lower=True)
        return factor
