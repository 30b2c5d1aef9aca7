"""The problems' stated fronts are checked against all genomes of small instances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gaprune.evolve.archive import Archive
from gaprune.genome import Genome
from gaprune.testing import dtlz2, lotz, one_min_max, zdt5


def exhaustive_front(problem):
    bits = np.array(list(itertools.product([False, True], repeat=problem.space.layout.size)))
    archive = Archive(problem.front.shape[1])
    values = np.unique(np.array([problem.evaluate(row) for row in bits]), axis=0)
    archive.add([Genome(b"")] * len(values), values)
    return archive.Y


@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.parametrize("make", [lotz, one_min_max])
def test_the_stated_front_is_the_true_one(make, size):
    problem = make(size, sections=3)
    assert np.array_equal(exhaustive_front(problem), problem.front)


@pytest.mark.parametrize(
    ("bits", "objectives"),
    [("1101000", (-2, -3)), ("0000000", (0, -7)), ("1111111", (-7, 0)), ("0101101", (0, 0))],
)
def test_lotz_counts_leading_ones_and_trailing_zeros(bits, objectives):
    vector = np.array([bit == "1" for bit in bits])
    assert tuple(lotz(7).evaluate(vector)) == objectives


def test_one_min_max_counts_ones_and_zeros():
    assert tuple(one_min_max(5).evaluate(np.array([1, 0, 1, 1, 0], dtype=bool))) == (-3, -2)


@pytest.mark.parametrize("twist", [None, 3])
def test_zdt5s_front_is_reached_by_full_blocks_and_by_nothing_better(twist):
    problem = zdt5(blocks=3, twist=twist)
    mask = problem_mask(problem, twist)
    for head in range(31):
        bits = np.concatenate([np.arange(30) < head, np.ones(15, dtype=bool)]) ^ mask
        assert tuple(problem.evaluate(bits)) == tuple(problem.front[head])
    rng = np.random.Generator(np.random.PCG64(0))
    for bits in rng.random((200, 45)) < 0.5:
        f1, f2 = problem.evaluate(bits)
        assert f1 * f2 >= 3


def problem_mask(problem, twist):
    size = problem.space.layout.size
    if twist is None:
        return np.zeros(size, dtype=bool)
    return np.random.Generator(np.random.PCG64(twist)).random(size) < 0.5


def test_zdt5s_blocks_deceive():
    problem = zdt5(blocks=1)
    values = [
        problem.evaluate(np.concatenate([np.zeros(30), np.arange(5) < ones]).astype(bool))[1] for ones in range(6)
    ]
    assert values == [2, 3, 4, 5, 6, 1]


@pytest.mark.parametrize("problem", [lotz(), one_min_max(), zdt5(), zdt5(twist=1), dtlz2(), dtlz2(4)])
def test_every_objective_is_better_than_the_reference(problem):
    rng = np.random.Generator(np.random.PCG64(0))
    layout = problem.space.layout
    genomes = [layout.pack(bits) for bits in rng.random((50, layout.size)) < rng.random((50, 1))]
    assert (problem.objectives(genomes) < problem.reference).all()


@pytest.mark.parametrize("problem", [lotz(), one_min_max(), zdt5(), dtlz2()])
def test_a_problem_has_several_sections_and_no_importance(problem):
    assert len(problem.space.layout.sections) > 1
    assert not problem.space.importance.any()


@pytest.mark.parametrize("objectives", [2, 3])
def test_dtlz2s_stated_front_is_the_true_one(objectives):
    problem = dtlz2(objectives, steps=4, distances=1)
    found = exhaustive_front(problem)
    assert found == pytest.approx(problem.front)
    assert np.linalg.norm(problem.front, axis=1) == pytest.approx(1)


def test_dtlz2s_distance_variables_want_half_of_their_bits():
    problem = dtlz2(3, steps=4, distances=2)
    bits = np.zeros(problem.space.layout.size, dtype=bool)
    assert problem.evaluate(bits) == pytest.approx([1.5, 0, 0])
    bits[8:10] = bits[12:14] = True
    assert problem.evaluate(bits) == pytest.approx([1, 0, 0])
    bits[:4] = True
    assert problem.evaluate(bits) == pytest.approx([0, 0, 1])
