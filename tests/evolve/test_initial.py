from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.evolve.initial import ASKED_FOR, asked_for, budgets, halving, informed, uninformed
from gaprune.evolve.ranked import rank
from gaprune.testing import BitSpace, ToyNetwork
from gaprune.testing.spaces import make_layout

SEED = st.integers(0, 2**32 - 1)


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def unpacked(space, genomes):
    return [space.layout.unpack(genome) for genome in genomes]


@pytest.mark.parametrize("make", [informed, uninformed])
@pytest.mark.parametrize("connections", [False, True])
def test_all_members_are_repaired(make, connections):
    space = ToyNetwork.make((3, 5, 6, 4), connections=connections)
    for bits in unpacked(space, make(space, 20, generator())):
        assert np.array_equal(space.repair(bits), bits)


@pytest.mark.parametrize("make", [informed, uninformed])
@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_the_count_is_met(make, count):
    assert len(make(ToyNetwork.make((3, 20, 20)), count, generator())) == count


def test_the_whole_network_is_always_the_first_informed_member():
    space = ToyNetwork.make((3, 20, 20))
    assert unpacked(space, informed(space, 4, generator()))[0].all()


@settings(deadline=None)
@given(SEED, st.booleans())
def test_informed_members_meet_their_budgets_to_about_a_step_of_width(seed, connections):
    space = ToyNetwork.make((8, 60, 60, 60), connections=connections, seed=seed)
    costs = [space.cost(bits) for bits in unpacked(space, informed(space, 8, generator(seed)))]
    for cost, budget in zip(costs, [1.0, *asked_for(budgets(7))], strict=True):
        assert cost == pytest.approx(budget, rel=2 / (60 * budget**0.5), abs=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_at_budgets_that_people_ask_for_stand_rungs_of_the_ladder_that_cost_no_more(seed):
    space = ToyNetwork.make((8, 400, 400, 400), seed=seed)
    members = unpacked(space, informed(space, 24, generator(seed)))
    ranked = rank(space)
    for wanted in ASKED_FOR:
        within = [bits for bits in members if space.cost(bits) <= wanted]
        best = max(within, key=space.cost)
        assert space.cost(best) >= 0.97 * wanted
        shares = ranked.shares(ranked.level(space.cost(best)))
        for section, share in zip(space.layout.sections, shares, strict=True):
            assert abs(best[section.slice].sum() - share * section.size) <= max(2, 0.02 * section.size)


@pytest.mark.parametrize("largest", [0.45, 0.2, 0.08])
def test_no_budget_that_is_asked_for_rises_above_a_limit(largest):
    spread = asked_for(budgets(24, largest))
    assert max(spread) == pytest.approx(largest)
    space = ToyNetwork.make((8, 400, 400, 400))
    members = unpacked(space, informed(space, 24, generator(), largest=largest))
    assert all(space.cost(bits) <= largest * 1.001 for bits in members)


def test_budgets_run_evenly_in_width_from_nine_tenths_to_a_fiftieth():
    values = budgets(10)
    assert values[0] == pytest.approx(0.9)
    assert values[-1] == pytest.approx(0.02)
    assert np.ptp(np.diff(np.sqrt(values))) == pytest.approx(0, abs=1e-12)


@given(SEED)
def test_informed_members_keep_the_most_important_genes_of_each_section(seed):
    space = ToyNetwork.make((3, 20, 30, 10), seed=seed)
    for bits in unpacked(space, informed(space, 6, generator(seed))):
        for section in space.layout.sections:
            worth, kept = space.importance[section.slice], bits[section.slice]
            assert kept.all() or worth[kept].min() > worth[~kept].max()


def test_layers_keep_different_shares_and_some_members_are_nearly_uniform():
    space = ToyNetwork.make((3, 200, 200, 200, 200))
    members = unpacked(space, informed(space, 30, generator()))[1:]
    spreads = [np.ptp([bits[section.slice].mean() for section in space.layout.sections]) for bits in members]
    assert min(spreads) < 0.03
    assert max(spreads) > 0.2


def test_neurons_and_connections_share_the_burden():
    space = ToyNetwork.make((20, 40, 40), connections=True)
    burdens = []
    for bits in unpacked(space, informed(space, 30, generator()))[1:]:
        connected = np.concatenate([bits[:80], np.ones(len(bits) - 80, dtype=np.bool_)])
        burdens.append(np.log(space.cost(connected)) / np.log(space.cost(bits)))
    assert min(burdens) < 0.3
    assert max(burdens) > 0.7


def test_members_of_a_space_without_importance_differ():
    space = BitSpace(make_layout([("a", "neurons", 40), ("b", "neurons", 40)]))
    genomes = informed(space, 30, generator())
    assert len(set(genomes)) == 30
    first = np.mean([bits[0] for bits in unpacked(space, genomes)])
    assert 0.2 < first < 0.8


def test_only_equal_importances_are_told_apart_at_random():
    worth = np.array([3.0, 1.0, 1.0, 1.0, 2.0, 1.0])

    class Tied(BitSpace):
        @property
        def importance(self):
            return worth

    space = rank(Tied(make_layout([("a", "neurons", 6)])))
    halves = [bits for bits in unpacked(space, informed(space, 60, generator())) if bits.sum() == 3]
    assert all(bits[0] and bits[4] for bits in halves)
    assert len({bits.tobytes() for bits in halves}) == 4


def test_uninformed_members_have_all_densities():
    space = BitSpace(make_layout([("a", "neurons", 500)]))
    densities = [bits.mean() for bits in unpacked(space, uninformed(space, 60, generator()))]
    assert min(densities) < 0.15
    assert max(densities) > 0.85


@pytest.mark.parametrize("count", [0, 1, 2, 5, 25, 32])
def test_halving_orders_all_places_and_begins_far_apart(count):
    order = halving(count)
    assert sorted(order) == list(range(count))
    if count >= 4:
        first = sorted(order[:4])
        assert min(np.diff(first)) >= count // 8
    assert halving(8) == [0, 4, 2, 6, 1, 5, 3, 7]
