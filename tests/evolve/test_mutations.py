from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evolve.operators import Flip, Resize, Shift, Slide, Swap
from gaprune.evolve.ranked import RankedSpace, rank
from gaprune.testing import BitSpace, ToyNetwork
from gaprune.testing.spaces import make_layout

SEED = st.integers(0, 2**32 - 1)
MUTATION = st.sampled_from([Flip(), Resize(), Shift(), Slide(), Swap()])
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def plain(sizes) -> RankedSpace:
    """A space without importance."""
    return rank(BitSpace(make_layout([(f"part{i}", "neurons", size) for i, size in enumerate(sizes)])))


def network(seed=0) -> RankedSpace:
    return rank(ToyNetwork.make((3, 12, 16, 9), seed=seed))


def counts(space, bits):
    return [int(bits[section.slice].sum()) for section in space.sections]


def random_bits(space, seed):
    rng = generator(seed)
    return rng.random(space.layout.size) < rng.random()


def most_important(space, share):
    return np.concatenate([space.standing[section.slice] > 1 - share for section in space.sections])


@given(MUTATION, SIZES, SEED)
def test_a_mutation_gives_fresh_bits_and_leaves_its_argument(mutation, sizes, seed):
    space = plain(sizes)
    bits = random_bits(space, seed)
    before = bits.copy()
    child = mutation(bits, space=space, rng=generator(seed))
    assert child.shape == bits.shape
    assert child.dtype == np.bool_
    assert not np.shares_memory(child, bits)
    assert np.array_equal(bits, before)


@given(MUTATION, SEED)
def test_a_mutation_depends_on_its_generator_alone(mutation, seed):
    space = network()
    bits = random_bits(space, seed)
    one, two = (mutation(bits, space=space, rng=generator(seed)) for _ in range(2))
    assert np.array_equal(one, two)


@given(st.sampled_from([Flip(), Resize()]), SIZES, SEED)
def test_flip_and_resize_always_change_something(mutation, sizes, seed):
    space = plain(sizes)
    bits = random_bits(space, seed)
    assert not np.array_equal(mutation(bits, space=space, rng=generator(seed)), bits)


@given(SIZES, SEED)
def test_resize_only_adds_or_only_removes_in_each_section(sizes, seed):
    space = plain(sizes)
    bits = random_bits(space, seed)
    child = Resize(sections=3)(bits, space=space, rng=generator(seed))
    for section in space.sections:
        before, after = bits[section.slice], child[section.slice]
        assert not (before & ~after).any() or not (after & ~before).any()


@given(SEED, st.floats(0.2, 0.8))
def test_resize_follows_the_order_of_importance(seed, share):
    space = network(seed)
    bits = most_important(space, share)
    child = Resize(noise=1e-3)(bits, space=space, rng=generator(seed))
    for section in space.sections:
        standing, kept = space.standing[section.slice], child[section.slice]
        assert kept.all() or not kept.any() or standing[kept].min() > standing[~kept].max()


@given(SEED)
def test_resize_changes_a_count_by_no_more_than_its_strength(seed):
    space = plain([400])
    bits = random_bits(space, seed)
    child = Resize(strength=0.1)(bits, space=space, rng=generator(seed))
    assert abs(int(child.sum()) - int(bits.sum())) <= max(1, round(0.106 * bits.sum()))


@given(SIZES, SEED)
def test_swap_keeps_every_count_and_changes_what_it_can(sizes, seed):
    space = plain(sizes)
    bits = random_bits(space, seed)
    child = Swap()(bits, space=space, rng=generator(seed))
    assert counts(space, child) == counts(space, bits)
    mixed = any(0 < count < size for count, size in zip(counts(space, bits), sizes, strict=True))
    assert np.array_equal(child, bits) != mixed


@given(SEED, st.floats(0.2, 0.8))
def test_swap_exchanges_genes_of_near_equal_importance(seed, share):
    space = rank(ToyNetwork.make((3, 60, 60), seed=seed))
    bits = most_important(space, share)
    child = Swap(noise=0.1)(bits, space=space, rng=generator(seed))
    for section in space.sections:
        changed = space.standing[section.slice][(child ^ bits)[section.slice]]
        assert len(changed) == 0 or np.ptp(changed) <= 2 * (0.1 + 2 / 59)


def test_swap_samples_huge_sections():
    space = plain([50_000])
    bits = random_bits(space, 3)
    child = Swap(sample=64, strength=1.0)(bits, space=space, rng=generator(0))
    assert 2 <= (child ^ bits).sum() <= 2 * 64


def test_flip_grows_with_the_section():
    rng = generator(0)

    def mean_flips(size):
        zeros, space = np.zeros(size, dtype=np.bool_), plain([size])
        return np.mean([Flip()(zeros, space=space, rng=rng).sum() for _ in range(50)])

    assert 1 <= mean_flips(10) < 2
    assert 15 < mean_flips(2000) < 27


@given(SEED)
def test_shift_shrinks_one_section_and_grows_another(seed):
    space = network(seed)
    bits = space.repair(random_bits(space, seed))
    child = Shift()(bits, space=space, rng=generator(seed))
    shrunk = [(bits & ~child)[section.slice].any() for section in space.sections]
    grown = [(child & ~bits)[section.slice].any() for section in space.sections]
    assert sum(shrunk) <= 1
    assert sum(grown) <= 1
    assert not any(a and b for a, b in zip(shrunk, grown, strict=True))


@given(SEED, st.booleans())
def test_shift_keeps_the_cost_to_within_a_gene(seed, connections):
    space = rank(ToyNetwork.make((3, 12, 16, 9), seed=seed, connections=connections))
    bits = space.repair(random_bits(space, seed))
    child = space.repair(Shift()(bits, space=space, rng=generator(seed)))
    assert abs(space.cost(child) - space.cost(bits)) <= 0.005 * space.cost(bits) + dearest_gene(space)


@given(st.lists(st.integers(2, 200), min_size=2, max_size=5), SEED)
def test_shift_keeps_the_count_where_genes_cost_the_same(sizes, seed):
    space = plain(sizes)
    bits = random_bits(space, seed)
    child = Shift(tolerance=0)(bits, space=space, rng=generator(seed))
    assert child.sum() == bits.sum()


@given(SEED, st.floats(0.1, 0.9))
def test_slide_moves_all_sections_the_same_way_and_keeps_how_they_depart_from_the_ladder(seed, share):
    space = rank(ToyNetwork.make((3, 300, 400, 200), seed=seed, connections=False))
    bits = space.repair(most_important(space, share) & most_important(space, 0.7))
    before, after = (np.array(counts(space, b)) for b in (bits, Slide()(bits, space=space, rng=generator(seed))))
    factors = after / before
    assert np.ptp(factors) <= 1.5 / before.min() or (after == np.array([300, 400, 200])).any()


@given(SEED, st.booleans())
def test_slide_changes_the_cost_by_no_more_than_its_strength(seed, connections):
    space = rank(
        ToyNetwork.make((3, 60, 80, 40) if connections else (3, 300, 400, 200), seed=seed, connections=connections)
    )
    bits = space.repair(most_important(space, 0.5))
    child = space.repair(Slide(strength=0.5)(bits, space=space, rng=generator(seed)))
    slack = 0.6 if connections else 0.05  # connections of removed neurons say 1, so these bits are off the ladder
    assert abs(np.log(space.cost(child) / space.cost(bits))) <= 0.5 + slack


@pytest.mark.parametrize("sizes", [[30], [10, 10]])
def test_shift_gives_an_equal_copy_where_nothing_can_move(sizes):
    space = plain(sizes)
    full = np.ones(space.layout.size, dtype=np.bool_)
    child = Shift()(full, space=space, rng=generator(0))
    assert np.array_equal(child, full)
    assert not np.shares_memory(child, full)


def dearest_gene(space) -> float:
    """The most that one gene of the whole network costs."""
    layout = space.layout
    full = np.ones(layout.size, dtype=np.bool_)
    without = [full ^ np.eye(1, layout.size, section.start, dtype=bool)[0] for section in space.sections]
    return max(1 - space.cost(space.repair(bits)) for bits in without)
