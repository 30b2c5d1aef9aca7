from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gaprune.evolve.archive import Archive
from gaprune.genome import Genome


def genomes(count):
    return [Genome(bytes([index])) for index in range(count)]


def test_the_archive_is_sorted_by_all_objectives_in_turn():
    archive = Archive(3)
    archive.add(genomes(4), np.array([[2.0, 0, 5], [1, 9, 9], [1, 8, 9.5], [1, 8, 9]]))
    assert archive.Y.tolist() == [[1, 8, 9], [2, 0, 5]]
    assert archive.genomes == [Genome(b"\3"), Genome(b"\0")]


def test_a_dominated_member_leaves():
    archive = Archive(2)
    archive.add(genomes(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    archive.add([Genome(b"z")], np.array([[1.0, 1.0]]))
    assert archive.genomes == [Genome(b"z")]


def test_rows_that_are_not_finite_never_enter():
    archive = Archive(2)
    archive.add(genomes(2), np.array([[np.inf, np.inf], [0.0, np.inf]]))
    assert archive.genomes == []
    assert archive.Y.shape == (0, 2)


@given(hnp.arrays(np.float64, (15, 2), elements=st.integers(0, 6).map(float)), st.integers(0, 15))
def test_it_does_not_matter_in_how_many_parts_a_history_is_told(Y, cut):
    whole, parts = Archive(2), Archive(2)
    whole.add(genomes(15), Y)
    parts.add(genomes(15)[:cut], Y[:cut])
    parts.add(genomes(15)[cut:], Y[cut:])
    assert whole.genomes == parts.genomes
    assert np.array_equal(whole.Y, parts.Y)
