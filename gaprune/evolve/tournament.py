"""Crowded binary tournament for populations of any size."""

from __future__ import annotations

import numpy as np

from gaprune.evolve.dominance import Indices
from gaprune.genome import Floats


def crowded_tournament(ranks: Indices, crowding: Floats, count: int, rng: np.random.Generator) -> Indices:
    """Winners of ``count`` binary tournaments by rank, then crowding distance, then at random.

    DEAP's ``selTournamentDCD`` asks for multiples of 4 and draws from Python's global generator; this does
    neither.

    Args:
        ranks: (n,) ranks, n at least 2, lower is better.
        crowding: (n,) crowding distances, larger is better.
        count: number of tournaments.
        rng: source of all randomness.

    Returns:
        (count,) indices.
    """
    first = rng.integers(len(ranks), size=count)
    second = (first + rng.integers(1, len(ranks), size=count)) % len(ranks)
    tie = (ranks[first] == ranks[second]) & (crowding[first] == crowding[second])
    wins = (ranks[first] < ranks[second]) | ((ranks[first] == ranks[second]) & (crowding[first] > crowding[second]))
    coin = rng.random(count) < 0.5
    return np.where(wins | (tie & coin), first, second)
