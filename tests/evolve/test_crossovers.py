from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evolve.operators import Blend, LayerWise, OnePoint
from gaprune.evolve.ranked import rank
from gaprune.testing import BitSpace
from gaprune.testing.spaces import make_layout

SEED = st.integers(0, 2**32 - 1)
SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=6)
CROSSOVER = st.sampled_from([LayerWise(), OnePoint(), OnePoint(position=None), OnePoint(position=1.0)])


def family(sizes, seed):
    """A space, two parents and a generator."""
    space = rank(BitSpace(make_layout([(f"part{i}", "neurons", size) for i, size in enumerate(sizes)])))
    rng = np.random.Generator(np.random.PCG64(seed))
    a, b = rng.random((2, space.layout.size)) < 0.5
    return space, a, b, rng


@given(CROSSOVER, SIZES, SEED)
def test_every_gene_of_a_child_comes_from_a_parent(crossover, sizes, seed):
    space, a, b, rng = family(sizes, seed)
    child = crossover(a, b, space=space, rng=rng)
    assert child.shape == a.shape
    assert child.dtype == np.bool_
    assert ((child == a) | (child == b)).all()


@given(st.one_of(CROSSOVER, st.just(Blend())), SIZES, SEED)
def test_a_child_never_aliases_its_parents(crossover, sizes, seed):
    space, a, b, rng = family(sizes, seed)
    before = a.copy(), b.copy()
    child = crossover(a, b, space=space, rng=rng)
    child[:] = ~child
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@given(SIZES, SEED)
def test_layer_wise_takes_each_section_whole(sizes, seed):
    space, a, b, rng = family(sizes, seed)
    child = LayerWise()(a, b, space=space, rng=rng)
    for section in space.sections:
        part = child[section.slice]
        assert np.array_equal(part, a[section.slice]) or np.array_equal(part, b[section.slice])


@pytest.mark.parametrize(("share", "parent"), [(0.0, 0), (1.0, 1)])
def test_the_share_says_how_much_comes_from_the_second_parent(share, parent):
    space, a, b, rng = family([5, 9, 3], 0)
    child = LayerWise(share=share)(a, b, space=space, rng=rng)
    assert np.array_equal(child, (a, b)[parent])


@given(SIZES, SEED)
def test_blend_between_the_parents_keeps_counts_between_theirs_and_what_both_keep(sizes, seed):
    space, a, b, rng = family(sizes, seed)
    child = Blend(beyond=0.0)(a, b, space=space, rng=rng)
    for section in space.sections:
        ours, theirs, made = (bits[section.slice] for bits in (a, b, child))
        low, high = sorted(max(int(genes.sum()), 1) for genes in (ours, theirs))
        assert low <= made.sum() <= high
        assert made[ours & theirs].all()
        if made.sum() <= (ours | theirs).sum():
            assert not made[~ours & ~theirs].any()


@given(SEED)
def test_blend_follows_one_line_for_all_sections(seed):
    space, _, _, rng = family([1200, 1200, 1200], seed)
    a, b = np.zeros(3600, bool), np.zeros(3600, bool)
    a[:100], a[1200:1400], a[2400:2800] = True, True, True
    b[:200], b[1200:1600], b[2400:3200] = True, True, True
    child = Blend()(a, b, space=space, rng=rng)
    steps = [np.log(child[part.slice].sum() / a[part.slice].sum()) for part in space.sections]
    assert np.ptp(steps) <= 0.02


@given(st.floats(0, 1), SEED)
def test_one_point_joins_the_head_of_one_and_the_tail_of_the_other(position, seed):
    space, a, b, rng = family([7, 30, 3], seed)
    child = OnePoint(position=position)(a, b, space=space, rng=rng)
    cut = round(position * 40)
    assert np.array_equal(child[:cut], a[:cut])
    assert np.array_equal(child[cut:], b[cut:])


def test_the_papers_cut_is_at_six_tenths():
    space, _, _, rng = family([10, 10], 0)
    child = OnePoint()(np.ones(20, bool), np.zeros(20, bool), space=space, rng=rng)
    assert child.tolist() == [True] * 12 + [False] * 8


def test_a_drawn_cut_differs_from_child_to_child():
    space, _, _, rng = family([50], 0)
    ones, zeros = np.ones(50, bool), np.zeros(50, bool)
    cuts = {int(OnePoint(position=None)(ones, zeros, space=space, rng=rng).sum()) for _ in range(20)}
    assert len(cuts) > 10
