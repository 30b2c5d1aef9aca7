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


def test_rows_that_break_constraints_come_last_the_nearest_first():
    Y = np.array([[0.1, 0.1], [0.5, 0.5], [0.2, 0.9], [0.0, 0.0]])
    violation = np.array([0.2, 0.0, 0.0, 0.1])
    chosen = most_volume(Y, 4, beside=Y[:0], reference=REFERENCE, violation=violation)
    assert sorted(chosen[:2]) == [1, 2]
    assert chosen[2:].tolist() == [3, 0]


def test_three_objectives_are_ranked_beside_what_is_there():
    Y = np.array([[0.6, 0.6, 0.6], [0.1, 0.9, 0.9], [0.7, 0.7, 0.7]])
    beside = np.array([[0.5, 0.5, 0.5]])
    assert most_volume(Y, 2, beside=beside, reference=np.full(3, 2.0)).tolist() == [1, 0]


def test_three_objectives_are_chosen_by_rank_and_crowding():
    Y = np.array([[1.0, 1.0, 1.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.6, 0.6, 0.6]])
    chosen = most_volume(Y, 2, beside=Y[:0], reference=np.full(3, 2.0))
    assert sorted(chosen) == [1, 2]
