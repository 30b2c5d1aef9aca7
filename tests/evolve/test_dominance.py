from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gaprune.evolve.dominance import (
    is_efficient,
    niched_survivors,
    rank_and_crowd,
    reference_directions,
    survivors,
)

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


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


WITH_VIOLATION = OBJECTIVES.flatmap(
    lambda Y: hnp.arrays(np.float64, len(Y), elements=st.sampled_from([0.0, 0.0, 0.5, 2.0])).map(lambda v: (Y, v))
)


@given(WITH_VIOLATION)
def test_ranks_follow_debs_rule(told):
    Y, violation = told
    ranks, _ = rank_and_crowd(Y, violation)

    def before(a, b):
        return violation[a] < violation[b] or (violation[a] == violation[b] and dominates(Y[a], Y[b]))

    for index in range(len(Y)):
        above = [ranks[other] for other in range(len(Y)) if before(other, index)]
        assert ranks[index] == (max(above) + 1 if above else 0)
    efficient = is_efficient(Y, violation)
    assert set(np.flatnonzero(efficient)) <= set(np.flatnonzero(ranks == 0))
    assert {tuple(row) for row in Y[efficient]} == {tuple(row) for row in Y[ranks == 0]}


@given(WITH_VIOLATION, st.data())
def test_all_ways_to_survive_take_different_rows_of_the_best_ranks(told, data):
    Y, violation = told
    count = data.draw(st.integers(1, len(Y)))
    ranks, _ = rank_and_crowd(Y, violation)
    directions = reference_directions(Y.shape[1], 2 * count)
    for kept in (survivors(Y, count, violation), niched_survivors(Y, count, directions, generator(), violation)):
        assert len(set(kept.tolist())) == count
        assert sorted(ranks[kept]) == sorted(ranks)[:count]


def test_failed_rows_say_nothing_of_the_niches():
    Y = generator().random((30, 3))
    failed = np.concatenate([Y, np.full((4, 3), np.inf)])
    directions = reference_directions(3, 24)
    kept = niched_survivors(Y, 12, directions, generator(1))
    assert np.array_equal(niched_survivors(failed, 12, directions, generator(1)), kept)
    assert niched_survivors(failed, 33, directions, generator(1)).tolist() == list(range(33))


@pytest.mark.parametrize("shift", [0.0, 5.0])
@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e7])
def test_niches_do_not_depend_on_where_and_how_an_objective_is_measured(shift, scale):
    Y = np.round(generator().random((40, 3)) * 1024) / 1024
    directions = reference_directions(3, 24)
    kept = niched_survivors(Y, 15, directions, generator(1))
    moved = Y * np.array([1.0, 1.0, scale]) + np.array([shift, 0.0, 0.0])
    assert set(niched_survivors(moved, 15, directions, generator(1))) == set(kept)


def test_of_a_crowd_around_one_direction_few_survive():
    corners = np.eye(3)
    crowd = np.array([1.0, 1.0, 1.0]) / 3 + 1e-3 * np.array([[i, j, -i - j] for i in range(4) for j in range(4)])
    kept = niched_survivors(np.concatenate([crowd, corners]), 4, reference_directions(3, 3), generator())
    assert {16, 17, 18} <= set(kept.tolist())


def test_which_of_equals_survives_is_the_generators_choice_alone():
    Y = np.repeat(np.eye(3), 6, axis=0)
    directions = reference_directions(3, 6)
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    found = {tuple(niched_survivors(Y, 5, directions, generator(seed))) for seed in (1, 1, 2, 3)}
    assert 2 <= len(found) <= 3
    assert repr(np.random.get_state(legacy=False)) == repr(before)  # noqa: NPY002


@pytest.mark.parametrize(("objectives", "count", "found"), [(1, 9, 1), (2, 9, 9), (3, 24, 21), (3, 2, 3), (3, 6, 6)])
def test_directions_are_as_many_as_fit(objectives, count, found):
    directions = reference_directions(objectives, count)
    assert len(directions) == found
    assert directions.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("objectives", [4, 5, 8])
def test_with_many_objectives_a_second_layer_fills_the_middle(objectives):
    directions = reference_directions(objectives, 48)
    assert len(directions) <= 48
    assert (directions > 0).all(axis=1).any()
    assert len(np.unique(directions, axis=0)) == len(directions)
