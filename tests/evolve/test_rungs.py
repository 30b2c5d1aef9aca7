"""Rungs of a ladder and the search for a level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evolve.ranked import largest_cost, rank
from gaprune.evolve.rungs import bisect_level, keep_first, nearest
from gaprune.testing import ToyNetwork
from gaprune.testing.spaces import make_layout

SPACE = rank(ToyNetwork.make((3, 64, 48, 64, 32)))


@given(st.floats(0, 1), st.integers(1, 30))
def test_what_is_wanted_lies_between_the_levels_found(wanted: float, steps: int) -> None:
    low, high = bisect_level(lambda level: -1.0 if level < wanted else 1.0, steps)
    assert low <= wanted <= high
    assert high - low == pytest.approx(0.5**steps)


def test_a_level_that_will_do_ends_the_search() -> None:
    asked: list[float] = []

    def compare(level: float) -> float:
        asked.append(level)
        return 0.0 if level == 0.75 else level - 0.75

    bisect_level(compare, 30)
    assert asked == [0.5, 0.75]


def test_the_first_genes_of_each_order_are_kept() -> None:
    layout = make_layout([("a", "neurons", 3), ("b", "neurons", 2)])
    bits = keep_first(layout, [np.array([2, 0, 1]), np.array([1, 0])], [2, 0])
    assert bits.tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("budget", [0.9, 0.4, 0.1])
def test_the_nearest_rung_costs_about_its_budget(budget: float) -> None:
    assert SPACE.cost(nearest(SPACE, budget, SPACE.rung)) == pytest.approx(budget, rel=0.05)


@pytest.mark.parametrize("limit", [0.8, 0.3, 0.05])
def test_the_largest_cost_is_allowed_and_a_little_more_is_not(limit: float) -> None:
    found = largest_cost(SPACE, lambda bits: SPACE.cost(bits) <= limit)
    assert limit * 0.9 < found <= limit


def test_where_nothing_is_allowed_the_smallest_network_is_the_largest() -> None:
    smallest = SPACE.cost(SPACE.repair(np.zeros(SPACE.layout.size, dtype=np.bool_)))
    assert largest_cost(SPACE, lambda bits: False) == smallest


@pytest.mark.parametrize("tilt", [0.0, 0.7])
def test_a_section_whose_losses_count_more_keeps_more(tilt: float) -> None:
    shares = SPACE.tilted(np.array([tilt, 0.0, 0.0, 0.0]))
    rung = SPACE.rung(0.5, shares)
    kept = [np.count_nonzero(rung[section.slice]) / section.size for section in SPACE.sections]
    assert kept[1:] == pytest.approx([0.5, 0.5, 0.5])
    assert (kept[0] > 0.5) == (tilt > 0)
    if not tilt:
        assert np.array_equal(rung, SPACE.rung(0.5))


@pytest.mark.parametrize("budget", [0.83, 0.5, 0.25, 0.1, 0.05])
def test_a_rung_within_its_budget_costs_no_more_where_a_cheaper_one_is_found(budget: float) -> None:
    found = SPACE.cost(nearest(SPACE, budget, SPACE.rung, tolerance=0.001, within=True))
    assert 0.85 * budget <= found <= 1.001 * budget
    smallest = SPACE.cost(SPACE.rung(0.0))
    assert SPACE.cost(nearest(SPACE, 0.5 * smallest, SPACE.rung, within=True)) < 2 * smallest
