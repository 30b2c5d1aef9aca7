from __future__ import annotations

import numpy as np
import pytest

from gaprune.evolve.tournament import crowded_tournament


def generator():
    return np.random.Generator(np.random.PCG64(0))


@pytest.mark.parametrize("size", [2, 4, 5, 7, 30])
def test_any_population_and_any_number_of_tournaments_work(size):
    winners = crowded_tournament(np.zeros(size, dtype=int), np.zeros(size), 2 * size + 1, generator())
    assert winners.shape == (2 * size + 1,)
    assert set(winners.tolist()) <= set(range(size))


def test_the_worst_never_wins_and_the_best_wins_most():
    winners = crowded_tournament(np.array([2, 0, 1, 1]), np.array([9.0, 0.0, 1.0, 2.0]), 3000, generator())
    wins = np.bincount(winners, minlength=4)
    assert wins[0] == 0
    assert wins[1] > wins[3] > wins[2] > 0
    assert wins[1] == pytest.approx(1500, rel=0.1)


def test_crowding_decides_within_a_rank():
    winners = crowded_tournament(np.zeros(2, dtype=int), np.array([np.inf, 1.0]), 100, generator())
    assert not winners.any()


def test_full_ties_fall_at_random():
    winners = crowded_tournament(np.zeros(2, dtype=int), np.full(2, np.inf), 1000, generator())
    assert winners.mean() == pytest.approx(0.5, abs=0.06)
