from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gaprune.evolve import hypervolume


@pytest.mark.parametrize(
    ("Y", "reference", "volume"),
    [
        ([[1, 2], [2, 1]], [3, 3], 3),
        ([[0, 0]], [2, 5], 10),
        ([[1, 3], [2, 2], [3, 1]], [4, 4], 6),
        ([[1, 3], [2, 2], [3, 1], [3, 3], [2, 2]], [4, 4], 6),
        ([[0.25, 0.5], [0.5, 0.25]], [1, 1], 0.5),
        ([[5, 0], [0, 5], [4, 4]], [4, 4], 0),
        ([[np.inf, np.inf], [1, 1]], [2, 2], 1),
        ([[-1, -2]], [0, 0], 2),
        ([[1, 0], [2, 0]], [3, 1], 2),
        ([[4], [2], [3]], [7], 5),
        ([[0, 0, 1], [0, 1, 0], [1, 0, 0]], [2, 2, 2], 7),
    ],
)
def test_known_volumes(Y, reference, volume):
    assert hypervolume(np.array(Y, dtype=float), reference) == pytest.approx(volume, abs=1e-12)


def test_an_empty_front_has_no_volume():
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0


@given(
    st.integers(1, 4).flatmap(
        lambda m: hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.just(m)), elements=st.integers(0, 4))
    )
)
def test_on_a_grid_it_is_the_number_of_dominated_cells(Y):
    cells = itertools.product(range(4), repeat=Y.shape[1])
    covered = sum(bool(np.all(np.array(cell) >= Y, axis=1).any()) for cell in cells)
    assert hypervolume(Y, [4] * Y.shape[1]) == pytest.approx(covered)


@pytest.mark.parametrize(
    ("Y", "reference", "message"),
    [
        ([[1, 2]], [3], "shape|got"),
        ([1, 2], [3, 3], "got"),
        ([[np.nan, 2]], [3, 3], "NaN"),
        ([[1, 2]], [np.nan, 3], "NaN"),
    ],
)
def test_what_has_no_volume_is_refused(Y, reference, message):
    with pytest.raises(ValueError, match=message):
        hypervolume(Y, reference)
