"""CMA-ES on whole ladders, on a space whose best ladder is known."""

from __future__ import annotations

import numpy as np
import pytest

from gaprune.evolve import CMA, RandomSearch, make_algorithm
from gaprune.evolve.ranked import rank
from gaprune.genome import Floats, Genome
from gaprune.testing import ToyNetwork

SPACE = ToyNetwork.make((3, 64, 48, 64, 32))
BEST = np.array([0.6, -0.4, 0.3, -0.5])


def judged(genomes: list[Genome], noise: float = 0.0, rng: np.random.Generator | None = None) -> Floats:
    """(n, 2) error and cost: least where widths at their cost are those of the ladder tilted by ``BEST``."""
    found = []
    for genome in genomes:
        bits = SPACE.layout.unpack(genome)
        kept = [np.count_nonzero(bits[section.slice]) / section.size for section in SPACE.layout.sections]
        level = float(np.mean(np.log(kept) * np.exp(BEST)))
        apart = np.log(kept) - level * np.exp(-BEST)
        blur = 0.0 if rng is None else noise * rng.standard_normal()
        found.append([0.1 - 0.1 * level + 0.05 * float(apart @ apart) + blur, SPACE.cost(bits)])
    return np.array(found)


def run(algorithm: CMA | RandomSearch, generations: int, noise: float = 0.0) -> None:
    rng = np.random.default_rng(0)
    for _ in range(generations):
        genomes = algorithm.ask()
        algorithm.tell(genomes, judged(genomes, noise, rng))


def error_of(tilt: Floats) -> float:
    """Mean error of the ladder's rungs over levels."""
    ranked = rank(SPACE)
    rungs = [ranked.rung(level, ranked.tilted(tilt)) for level in (0.3, 0.4, 0.5, 0.6)]
    return float(judged([SPACE.layout.pack(bits) for bits in rungs])[:, 0].mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_mean_ladder_becomes_better_than_the_one_that_the_search_began_with(seed: int, noise: float) -> None:
    search = CMA(SPACE, population=30, seed=seed)
    run(search, 15, noise)
    assert error_of(search.tilt) < error_of(np.zeros(4)) - 0.005


def test_the_first_generation_is_the_spaces_own_ladder_from_the_whole_network_down() -> None:
    genomes = CMA(SPACE, population=12).ask()
    ranked = rank(SPACE)
    costs = sorted((SPACE.cost(SPACE.layout.unpack(genome)) for genome in genomes), reverse=True)
    assert costs[0] == 1
    assert costs[-1] == pytest.approx(0.02, abs=0.005)
    rungs = {SPACE.layout.pack(ranked.rung(level)) for level in np.linspace(0, 1, 513)}
    assert rungs >= set(genomes)


def test_ladders_of_a_generation_are_judged_at_the_same_budgets_and_the_mean_at_others() -> None:
    search = CMA(SPACE, population=30, seed=0)
    run(search, 1)
    costs = np.array([SPACE.cost(SPACE.layout.unpack(genome)) for genome in search.ask()])
    ladders = costs[:27].reshape(9, 3)
    assert (np.ptp(ladders, axis=0) < 0.1 * ladders.mean(axis=0)).all()
    assert len(set(np.round(np.log(costs[27:]), 1))) == 3


def test_budgets_of_the_mean_move_so_that_all_are_visited() -> None:
    search, asked = CMA(SPACE, population=30, seed=0), []
    for _ in range(12):
        genomes = search.ask()
        asked += [SPACE.cost(SPACE.layout.unpack(genome)) for genome in genomes]
        search.tell(genomes, judged(genomes))
    costs = np.sort([cost for cost in asked if cost <= 0.9])
    assert np.diff(np.log(costs)).max() < 0.35


def test_ladders_are_judged_in_turns_at_the_budgets_that_people_ask_for_and_at_the_limit() -> None:
    judged_at = set()
    search = CMA(SPACE, population=30, seed=0, largest=0.3)
    for _ in range(4):
        genomes = search.ask()
        costs = [SPACE.cost(SPACE.layout.unpack(genome)) for genome in genomes[:3]]
        judged_at |= {round(cost, 2) for cost in costs} if search.generation else set()
        search.tell(genomes, judged(genomes))
    assert all(any(abs(cost - budget) <= 0.02 for cost in judged_at) for budget in (0.3, 0.25, 0.1, 0.05))


def test_a_ladder_that_failed_teaches_nothing_and_too_few_sound_ones_move_nothing() -> None:
    search = CMA(SPACE, population=30, seed=0)
    run(search, 1)
    genomes = search.ask()
    Y = judged(genomes)
    Y[: 6 * 3 : 3] = np.inf
    search.tell(genomes, Y)
    assert not search.tilt.any()
    genomes = search.ask()
    Y = judged(genomes)
    Y[0] = np.inf
    search.tell(genomes, Y)
    assert search.tilt.any()
    assert np.isfinite(search.tilt).all()


def test_what_is_expected_is_learnt_in_place_of_bounds() -> None:
    one, other = CMA(SPACE, population=30, seed=0), CMA(SPACE, population=30, seed=0)
    for search in (one, other):
        run(search, 1)
    genomes = one.ask()
    assert other.ask() == genomes
    Y = judged(genomes)
    bounds = Y.copy()
    bounds[::2, 0] = 0.0
    one.tell(genomes, Y)
    other.tell(genomes, bounds, expected=Y)
    assert np.array_equal(one.tilt, other.tilt)


def test_constraints_come_first() -> None:
    """Ladders that break a limit are worse than all others, whatever their objectives."""
    search = CMA(SPACE, population=30, seed=0)
    run(search, 1)
    genomes = search.ask()
    first = SPACE.layout.sections[0].slice
    wide = np.array([np.count_nonzero(SPACE.layout.unpack(genome)[first]) for genome in genomes])
    search.tell(genomes, np.full((30, 2), 0.5), np.maximum(wide - 8, 0.0))
    assert search.tilt[0] < 0


@pytest.mark.parametrize("largest", [1.0, 0.3])
def test_nothing_costs_more_than_is_of_use(largest: float) -> None:
    search = make_algorithm("cma", SPACE, objectives=2, population=14, seed=0, largest=largest)
    for _ in range(4):
        genomes = search.ask()
        Y = judged(genomes)
        assert Y[:, 1].max() <= 1.01 * largest
        search.tell(genomes, Y)


def test_no_genome_is_asked_for_twice() -> None:
    search = CMA(ToyNetwork.make((3, 6, 8, 5), connections=True), population=30)
    space = ToyNetwork.make((3, 6, 8, 5), connections=True)
    asked = []
    for _ in range(6):
        genomes = search.ask()
        asked += genomes
        search.tell(genomes, np.array([space.evaluate(space.layout.unpack(genome)) for genome in genomes]))
    assert len(set(asked)) == len(asked)


def test_a_state_of_another_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="another search: its algorithm differ"):
        CMA(SPACE).restore(RandomSearch(SPACE).state())
