from __future__ import annotations

import itertools

import numpy as np
import pytest

from gaprune.errors import OptionError
from gaprune.evolve import Algorithm, Rounds, make_algorithm
from gaprune.evolve.quota import Quota
from gaprune.evolve.ranked import rank
from gaprune.genome import Bits, Space
from gaprune.testing import ToyNetwork
from gaprune.testing.algorithm_suite import AlgorithmSuite, evaluate, generations, network
from gaprune.testing.spaces import BitSpace, make_layout

WIDE = ToyNetwork.make((3, 20, 30, 40, 10), seed=1)
BOTH = ToyNetwork.make((3, 12, 16, 10), connections=True, seed=1)


class TestRounds(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return make_algorithm("rounds", space, objectives=objectives, population=population, seed=seed)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def neurons(space: ToyNetwork, bits: Bits) -> list[int]:
    """Widths."""
    depth = len(space.widths) - 1
    return [int(bits[section.slice].sum()) for section in space.layout.sections[:depth]]


def kernels(space: ToyNetwork, bits: Bits) -> tuple[int, int]:
    """Connections that are there, and those that could be between the kept neurons."""
    widths = [space.widths[0], *neurons(space, bits)]
    possible = sum(a * b for a, b in itertools.pairwise(widths))
    total = sum(a * b for a, b in itertools.pairwise(space.widths))
    return round(space.cost(bits) * total), possible


@pytest.mark.parametrize("share", [0.0, 0.03, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_every_drawn_and_every_mended_genome_keeps_the_quota_of_neurons(share: float, seed: int) -> None:
    quota, random = Quota(rank(WIDE), share), rng(seed)
    drawn = [quota.draw(random), quota.draw(random, plain=True)]
    mended = [quota.meet(random.random(WIDE.layout.size) < random.random(), random) for _ in range(4)]
    assert [sum(neurons(WIDE, bits)) for bits in drawn + mended] == [round(100 * (1 - share))] * 6
    for bits in drawn + mended:
        assert np.array_equal(WIDE.repair(bits), bits)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_where_both_kinds_are_genes_each_keeps_the_square_root(share: float, seed: int) -> None:
    quota, random = Quota(rank(BOTH), share), rng(seed)
    for bits in (quota.draw(random), quota.meet(random.random(BOTH.layout.size) < 0.7, random)):
        assert sum(neurons(BOTH, bits)) == round(38 * (1 - share) ** 0.5)
        kept, possible = kernels(BOTH, bits)
        assert kept == round(possible * (1 - share) ** 0.5)
        assert np.array_equal(BOTH.repair(bits), bits)


def test_the_first_genome_leaves_out_the_least_important_of_each_layer() -> None:
    bits = Quota(rank(WIDE), 0.4).draw(rng(), plain=True)
    for section in WIDE.layout.sections:
        kept, worth = bits[section.slice], WIDE.importance[section.slice]
        assert worth[kept].min() > worth[~kept].max()


def test_the_drawn_genomes_are_uneven_over_the_layers_and_differ() -> None:
    quota, random = Quota(rank(WIDE), 0.4), rng()
    widths = {tuple(neurons(WIDE, quota.draw(random))) for _ in range(30)}
    shares = np.array(sorted(widths)) / np.array(WIDE.widths[1:])
    assert len(widths) > 15
    assert shares.min() < 0.45
    assert shares.max() > 0.75


def test_a_quota_between_two_widths_that_rounding_allows_is_met_as_nearly_as_can_be() -> None:
    class Fours(BitSpace):
        def repair(self, bits: Bits) -> Bits:
            mended = bits.copy()
            for section in self.layout.sections:
                genes = mended[section.slice]
                width = max(round(int(genes.sum()) / 4), 1) * 4
                genes[np.argsort(~genes, kind="stable")] = np.arange(section.size) < width
            return mended

    space = Fours(make_layout([("a", "neurons", 16), ("b", "neurons", 16), ("c", "neurons", 8)]))
    for seed in range(10):
        bits = Quota(rank(space), 0.45).meet(np.ones(40, dtype=np.bool_), rng(seed))
        assert bits.sum() in (20, 24)


def test_the_best_by_the_first_objective_are_the_parents_whatever_the_second_says() -> None:
    search = Rounds(network(), objectives=2, population=8, selected=3, share=0.3)
    told = []
    for _ in range(5):
        genomes = search.ask()
        losses = evaluate(genomes)[:, 0]
        told += list(zip(losses.tolist(), genomes, strict=True))
        search.tell(genomes, np.stack([losses, -losses], axis=1))
    best = sorted({genome: loss for loss, genome in reversed(told)}.values())[:3]
    assert search.state().arrays["parents_Y"][:, 0].tolist() == best


def test_a_search_gets_better_and_never_loses_its_best() -> None:
    search = Rounds(WIDE, population=10, share=0.5)
    best = []
    for _ in range(12):
        genomes = search.ask()
        search.tell(genomes, np.array([WIDE.evaluate(WIDE.layout.unpack(genome))[:1] for genome in genomes]))
        best.append(float(search.front()[1][0, 0]))
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0]


def test_children_are_the_head_of_one_parent_and_the_tail_of_another() -> None:
    space = BitSpace(make_layout([(str(index), "neurons", 10) for index in range(10)]))
    search = Rounds(space, population=20, selected=5, share=0.0001, cut=0.6, mutation_rate=0.0)
    genomes = search.ask()
    search.tell(genomes, np.arange(20.0)[:, None])
    parents = [space.layout.unpack(genome) for genome in dict.fromkeys(genomes)][:5]
    expected = {np.append(a[:60], b[60:]).tobytes() for a in parents for b in parents}
    assert any(space.layout.unpack(genome).tobytes() in expected for genome in search.ask())


def test_the_whole_network_is_all_there_is_where_nothing_goes() -> None:
    search = Rounds(network(), population=5, objectives=2, share=0.0)
    layout = network().layout
    assert set(search.ask()) == {layout.pack(np.ones(layout.size, dtype=np.bool_))}


def test_when_all_have_failed_new_ones_are_drawn() -> None:
    search = Rounds(network(), population=6, objectives=2, share=0.3)
    first = search.ask()
    search.tell(first, np.full((6, 2), np.inf))
    assert not set(search.ask()) & set(first)
    assert generations(search, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selected": 1}, "selected must be 2 to the population of 6, got 1"),
        ({"selected": 7}, "selected must be 2 to the population of 6, got 7"),
        ({"cut": 1.5}, "cut must be 0 to 1, got 1.5"),
        ({"mutation_rate": -0.1}, "mutation-rate must be 0 to 1, got -0.1"),
        ({"share": 1.0}, "round-share must be at least 0 and below 1, got 1"),
    ],
)
def test_numbers_out_of_range_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Rounds(network(), population=6, **options)  # type: ignore[arg-type]
