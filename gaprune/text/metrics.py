"""How good a binary classifier is, and how sure that is: bootstrap intervals over the test texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2_000
COVERAGE = 0.95
FIGURES = ("accuracy", "f1", "f1_positive", "precision", "recall")

Floats = NDArray[np.float64]


def scores(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, seed: int = 0) -> dict[str, float]:
    """Figures of (N,) predictions, each with the bounds of its 95% bootstrap interval.

    Args:
        labels: 0 or 1; 1 is the positive class.
        predicted: the same.
        seed: of the resampling.

    Returns:
        ``accuracy``, ``f1`` (macro), ``f1_positive``, ``precision`` and ``recall`` of the positive class, 0 to 1, and
        ``<name>_low``, ``<name>_high``. What would divide by zero is 0.
    """
    counts = np.bincount(2 * labels + predicted, minlength=4).astype(np.float64)
    point = _figures(counts)
    # Texts drawn with replacement matter only by their cell of the confusion matrix.
    drawn = np.random.default_rng(seed).multinomial(int(counts.sum()), counts / counts.sum(), RESAMPLES)
    resampled = _figures(drawn.astype(np.float64))
    found: dict[str, float] = {}
    for name in FIGURES:
        low, high = np.quantile(resampled[name], [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        found |= {name: float(point[name]), f"{name}_low": float(low), f"{name}_high": float(high)}
    return found


def _figures(counts: Floats) -> dict[str, Floats]:
    """Figures of confusion counts (..., 4): true negatives, false positives, false negatives, true positives."""
    tn, fp, fn, tp = np.moveaxis(counts, -1, 0)
    positive, negative = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)
    return {
        "accuracy": _ratio(tp + tn, tn + fp + fn + tp),
        "f1": (positive + negative) / 2,
        "f1_positive": positive,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
    }


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)
