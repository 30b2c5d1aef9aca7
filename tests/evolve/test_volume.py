from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gaprune.evolve import hypervolume
from gaprune.evolve.volume import gained, most_volume

REFERENCE = np.ones(2)
POINTS = st.integers(0, 8).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, 1.2)))


@given(POINTS, POINTS)
def test_what_a_point_gains_is_the_difference_of_hypervolumes(Y, beside):
    before = hypervolume(beside, REFERENCE)
    expected = [hypervolume(np.concatenate([beside, row[None]]), REFERENCE) - before for row in Y]
    np.testing.assert_allclose(gained(Y, beside, REFERENCE), expected, atol=1e-12)


@given(POINTS, POINTS)
def test_each_choice_is_the_best_in_its_turn(Y, beside):
    chosen = most_volume(Y, len(Y), beside=beside, reference=REFERENCE)
    assert sorted(chosen) == list(range(len(Y)))
    there = beside
    for turn, index in enumerate(chosen):
        gains = gained(Y[chosen[turn:]], there, REFERENCE)
        assert gains[0] >= gains.max() - 1e-12
        there = np.concatenate([there, Y[index : index + 1]])


def test_rows_at_infinity_come_last():
    Y = np.array([[np.inf, np.inf], [0.5, 0.5], [0.2, 0.9]])
    assert most_volume(Y, 3, beside=Y[:0], reference=REFERENCE).tolist()[-1] == 0


def test_three_objectives_are_chosen_by_rank_and_crowding():
    Y = np.array([[1.0, 1.0, 1.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.6, 0.6, 0.6]])
    chosen = most_volume(Y, 2, beside=Y[:0], reference=np.full(3, 2.0))
    assert sorted(chosen) == [1, 2]
