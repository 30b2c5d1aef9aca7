from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.testing import BitSpace, ToyNetwork
from gaprune.testing.spaces import make_layout

SEED = st.integers(0, 2**32 - 1)


def random_bits(size, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.random(size) < rng.random()


def test_a_layout_has_no_gaps():
    layout = make_layout([("a", "neurons", 3), ("a", "connections", 9), ("b", "neurons", 2)])
    assert [(section.start, section.size) for section in layout.sections] == [(0, 3), (3, 9), (12, 2)]
    assert layout.size == 14


@given(SEED, st.booleans())
def test_the_toy_networks_repair_is_idempotent_and_leaves_no_layer_empty(seed, connections):
    space = ToyNetwork.make((3, 5, 4), connections=connections)
    bits = random_bits(space.layout.size, seed)
    before = bits.copy()
    mended = space.repair(bits)
    assert np.array_equal(bits, before)
    assert np.array_equal(space.repair(mended), mended)
    assert all(mended[section.slice].any() for section in space.layout.sections)
    assert 0 < space.cost(mended) <= 1


def test_the_toy_network_counts_connections_between_kept_neurons():
    space = ToyNetwork.make((2, 2, 3), connections=True)
    bits = np.ones(space.layout.size, dtype=np.bool_)
    assert space.cost(bits) == 1
    bits[0] = False
    assert space.cost(space.repair(bits)) == pytest.approx((2 + 3) / 10)
    bits[-1] = False
    assert space.cost(space.repair(bits)) == pytest.approx((2 + 2) / 10)


def test_equal_toy_networks_are_equal_genomes():
    space = ToyNetwork.make((2, 2, 3), connections=True)
    bits = np.ones(space.layout.size, dtype=np.bool_)
    bits[0] = False
    other = bits.copy()
    other[space.layout.sections[2].start] = False
    assert np.array_equal(space.repair(bits), space.repair(other))


def test_the_whole_toy_network_loses_nothing():
    space = ToyNetwork.make((3, 5, 4))
    lost, cost = space.evaluate(np.ones(9, dtype=np.bool_))
    assert lost == pytest.approx(0, abs=1e-12)
    assert cost == 1


def test_plain_bits_need_no_mending():
    space = BitSpace(make_layout([("a", "neurons", 4)]))
    bits = np.array([True, False, False, False])
    mended = space.repair(bits)
    assert np.array_equal(mended, bits)
    assert mended is not bits
    assert space.cost(bits) == 0.25
