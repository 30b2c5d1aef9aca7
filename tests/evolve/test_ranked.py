from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from gaprune.evolve.ranked import rank
from gaprune.genome import Layout
from gaprune.testing import BitSpace, ToyNetwork
from gaprune.testing.spaces import make_layout


@dataclass(frozen=True)
class Weighted(BitSpace):
    worth: tuple[float, ...] = ()

    @property
    def importance(self):
        return np.array(self.worth)


def weighted(*worth, sizes=None):
    sizes = sizes or [len(worth)]
    return Weighted(make_layout([(f"part{i}", "neurons", size) for i, size in enumerate(sizes)]), worth)


@pytest.mark.parametrize(
    ("worth", "standing", "tied"),
    [
        ((5.0, 1.0, 3.0), [1, 0, 0.5], False),
        ((7.0,), [0.5], False),
        ((2.0, 2.0, 2.0), [0.5, 0.5, 0.5], True),
        ((1.0, 2.0, 2.0, 9.0, -4.0), [0.25, 0.625, 0.625, 1, 0], True),
    ],
)
def test_standings_are_mean_ranks_from_0_to_1(worth, standing, tied):
    ranked = rank(weighted(*worth))
    assert ranked.standing.tolist() == standing
    assert ranked.tied == (tied,)


def test_each_section_is_ranked_by_itself():
    ranked = rank(weighted(1.0, 2.0, 200.0, 100.0, 100.0, sizes=[2, 3]))
    assert ranked.standing.tolist() == [0, 1, 1, 0.25, 0.25]
    assert ranked.tied == (False, True)


def test_a_ranked_space_is_the_space_and_ranks_only_once():
    space = ToyNetwork.make((3, 4, 5))
    ranked = rank(space)
    assert rank(ranked) is ranked
    bits = np.zeros(9, dtype=np.bool_)
    assert np.array_equal(ranked.repair(bits), space.repair(bits))
    assert ranked.cost(space.repair(bits)) == space.cost(space.repair(bits))
    assert ranked.importance is space.importance
    assert ranked.layout is space.layout


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (BitSpace(Layout(())), "at least one section"),
        (weighted(sizes=[0]), "at least one gene"),
        (weighted(1.0, sizes=[2]), r"\(2,\) finite numbers, got \(1,\)"),
        (weighted(1.0, np.nan), "finite"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space, message):
    with pytest.raises(ValueError, match=message):
        rank(space)
