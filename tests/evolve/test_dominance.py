from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gaprune.evolve.dominance import is_efficient, rank_and_crowd, survivors

VALUES = st.one_of(st.integers(0, 5).map(float), st.floats(-10, 10))
OBJECTIVES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: hnp.arrays(np.float64, (shape[0], min(shape[1], 4)), elements=VALUES)
)


def dominates(a, b):
    return bool(np.all(a <= b) and np.any(a < b))


@given(OBJECTIVES)
def test_a_rank_is_one_more_than_the_worst_rank_that_dominates_it(Y):
    ranks, _ = rank_and_crowd(Y)
    for index, row in enumerate(Y):
        above = [ranks[other] for other in range(len(Y)) if dominates(Y[other], row)]
        assert ranks[index] == (max(above) + 1 if above else 0)


@given(OBJECTIVES, st.data())
def test_survivors_are_different_rows_of_the_best_ranks(Y, data):
    count = data.draw(st.integers(1, len(Y)))
    ranks, _ = rank_and_crowd(Y)
    kept = survivors(Y, count)
    assert len(set(kept.tolist())) == count
    assert sorted(ranks[kept]) == sorted(ranks)[:count]


@given(OBJECTIVES)
def test_the_efficient_rows_are_the_first_of_each_non_dominated_value(Y):
    ranks, _ = rank_and_crowd(Y)
    seen = set()
    for index, efficient in enumerate(is_efficient(Y)):
        key = tuple(Y[index])
        assert efficient == (ranks[index] == 0 and key not in seen)
        seen.add(key)


def test_crowding_is_the_size_of_the_gap_between_neighbours():
    Y = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]])
    assert rank_and_crowd(Y)[1].tolist() == [np.inf, 0.75, 0.625, np.inf]


def test_failed_rows_come_last_and_leave_the_crowding_finite_or_infinite_but_never_nan():
    Y = np.array([[np.inf, np.inf], [1.0, 2.0], [2.0, 1.0], [np.inf, np.inf], [3.0, 3.0]])
    ranks, crowding = rank_and_crowd(Y)
    assert ranks.tolist() == [2, 0, 0, 2, 1]
    assert not np.isnan(crowding).any()
    assert set(survivors(Y, 3).tolist()) == {1, 2, 4}


def test_nothing_is_efficient_among_nothing():
    assert is_efficient(np.empty((0, 2))).shape == (0,)
