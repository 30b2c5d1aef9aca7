from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evolve.operators import Flip, LayerWise
from gaprune.evolve.ranked import rank
from gaprune.evolve.variation import Variation
from gaprune.testing import ToyNetwork

SPACE = rank(ToyNetwork.make((3, 10, 12, 8)))


def parents(seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    return *(rng.random((2, SPACE.layout.size)) < 0.5), rng


@given(st.integers(0, 2**32 - 1))
def test_a_child_never_aliases_its_parents(seed):
    a, b, rng = parents(seed)
    child = Variation()(a, b, space=SPACE, rng=rng)
    assert not np.shares_memory(child, a)
    assert not np.shares_memory(child, b)


def test_without_crossover_a_child_is_a_mutated_copy_of_the_first_parent():
    a, b, rng = parents(0)
    only = Variation(crossover_rate=0, mutation_rate=0, mutations=((Flip(sections=1, strength=0), 1.0),))
    assert (only(a, b, space=SPACE, rng=rng) ^ a).sum() == 1


def test_without_mutation_a_child_is_the_crossover():
    a, b, rng = parents(1)
    only = Variation(crossovers=((LayerWise(share=1.0), 1.0),), crossover_rate=1, mutation_rate=0)
    assert np.array_equal(only(a, b, space=SPACE, rng=rng), b)


def test_mutations_are_drawn_by_weight():
    drawn = []

    def spy(name):
        def mutation(bits, *, space, rng):
            drawn.append(name)
            return bits.copy()

        return mutation

    a, _, rng = parents(2)
    variation = Variation(mutations=((spy("rare"), 1.0), (spy("often"), 3.0)))
    for _ in range(400):
        variation.mutate(a, space=SPACE, rng=rng)
    assert drawn.count("often") == pytest.approx(300, abs=40)
