"""Choosing points one by one, each for the hypervolume that it adds to those before."""

from __future__ import annotations

import numpy as np

from gaprune.evolve.dominance import Indices, rank_and_crowd
from gaprune.genome import Floats


def most_volume(
    Y: Floats, count: int, *, beside: Floats, reference: Floats, violation: Floats | None = None
) -> Indices:
    """Indices of ``count`` rows of ``Y``, each the one that adds most hypervolume when it is its turn.

    Rows that add nothing follow by rank and crowding together with what is ``beside`` them, Deb's rule first. With
    other than two objectives all rows are chosen so.

    Args:
        Y: (n, m) array, minimised, finite.
        count: at most n.
        beside: (k, m) points that are there already and keep to all constraints.
        reference: (m,) worst point that counts.
        violation: (n,) of constraints; rows that have any add nothing. ``None`` stands for zeros.
    """
    broken = np.zeros(len(Y)) if violation is None else violation
    chosen: list[int] = []
    if Y.shape[1] == 2:
        stairs = beside
        while len(chosen) < count:
            gains = np.where(broken > 0, 0.0, gained(Y, stairs, reference))
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append(best)
            stairs = np.concatenate([stairs, Y[best : best + 1]])
    if len(chosen) == count:
        return np.array(chosen, dtype=np.intp)
    everyone, everywhere = np.concatenate([Y, beside]), np.concatenate([broken, np.zeros(len(beside))])
    ranks, crowding = (found[: len(Y)] for found in rank_and_crowd(everyone, everywhere))
    order = np.lexsort((-crowding, ranks))
    rest = order[~np.isin(order, chosen)]
    return np.concatenate([np.array(chosen, dtype=np.intp), rest[: count - len(chosen)]])


def gained(Y: Floats, beside: Floats, reference: Floats) -> Floats:
    """(n,) area that each row of the (n, 2) ``Y`` alone would add to what ``beside`` dominates up to ``reference``."""
    inside = beside[(beside < reference).all(axis=1)]
    inside = inside[np.argsort(inside[:, 0], kind="stable")]
    left = np.concatenate([[-np.inf], inside[:, 0]])
    right = np.append(left[1:], reference[0])
    height = np.minimum.accumulate(np.append(reference[1], inside[:, 1]))
    width = np.maximum(right[None] - np.maximum(left[None], Y[:, :1]), 0.0)
    areas: Floats = (width * np.maximum(height[None] - Y[:, 1:], 0.0)).sum(axis=1)
    return areas
