from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gaprune.evolve.living import living
from gaprune.evolve.operators import Resize
from gaprune.evolve.profile import Profiler
from gaprune.evolve.ranked import RankedSpace, rank
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits
from gaprune.testing import ToyNetwork


def narrowed(seed: int) -> tuple[RankedSpace, Bits]:
    """A repaired genome that keeps about a third of the neurons and half of the connections left between them."""
    space = rank(ToyNetwork.make((12, 24, 20), connections=True, seed=seed))
    rng = np.random.default_rng(seed)
    bits = rng.random(space.layout.size) < 0.5
    for section in space.sections[:2]:
        bits[section.slice] = rng.random(section.size) < 0.35
    return space, space.repair(bits)


@pytest.mark.parametrize("seed", range(4))
def test_living_genes_mean_the_same_network(seed: int) -> None:
    space, bits = narrowed(seed)
    seen = living(space, bits)
    assert seen is not None
    cut = bits[seen.genes.alive]
    assert seen.layout.size == len(cut) == np.count_nonzero(space.live(bits))
    assert (seen.genes.restored(cut) == bits).all()
    assert (seen.repair(cut) == cut).all()
    assert seen.live(cut).all()
    assert seen.cost(cut) == space.cost(bits)
    assert (seen.importance == space.importance[seen.genes.alive]).all()
    assert seen.level(0.3) == space.level(0.3)


def test_a_section_without_living_genes_is_not_seen() -> None:
    space, bits = narrowed(0)
    seen = living(space, bits)
    assert seen is not None
    alive = seen.genes.alive.copy()
    alive[space.sections[2].slice] = False
    fewer = replace(seen.genes, alive=alive)
    assert [section.size for section in fewer.layout.sections] == [24, 20, np.count_nonzero(alive[44:])]
    assert len(fewer.shares(0.5)) == 3


def test_where_everything_lives_there_is_nothing_to_leave_out() -> None:
    assert living(rank(ToyNetwork.make((4, 5, 6))), np.zeros(11, dtype=bool)) is None


def least_important_dead() -> tuple[RankedSpace, Bits]:
    """A third of the neurons, all connections between them; a kernel is worth what its neurons are."""
    toy = ToyNetwork.make((30, 30), connections=True)
    worth = np.arange(30.0)
    space = rank(replace(toy, importance=np.concatenate([worth, np.repeat(worth, 30) * 30 + np.tile(worth, 30)])))
    return space, space.repair(np.concatenate([worth >= 20, np.ones(900, dtype=bool)]))


def test_shrinking_connections_reaches_those_between_kept_neurons() -> None:
    space, bits = least_important_dead()
    variation = Variation(mutations=((Resize(sections=2.0, strength=0.3, noise=0.0), 1.0),))
    rng = np.random.default_rng(0)
    children = [space.repair(variation.mutate(bits, space=space, rng=rng)) for _ in range(50)]
    connections = space.sections[1].slice
    shares = [child[connections][space.live(child)[connections]].mean() for child in children]
    assert min(shares) < 0.85


def test_a_profile_does_not_count_dead_genes() -> None:
    """Keeping the best half of what lives is what the order says, however much is dead."""
    space, bits = least_important_dead()
    profile = Profiler(space)
    half = bits.copy()
    half[space.sections[1].slice] &= space.standing[space.sections[1].slice] >= np.quantile(
        space.standing[space.live(bits)][30:], 0.5
    )
    half = space.repair(half)
    whole, thinned = profile(bits), profile(half)
    assert thinned[2] - whole[2] == pytest.approx(
        np.log(0.5) + np.log(space.level(np.exp(whole[0]))) - np.log(space.level(np.exp(thinned[0]))), abs=0.02
    )
    assert thinned[4] == 0
