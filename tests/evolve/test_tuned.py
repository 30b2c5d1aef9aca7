"""NSGA-II around a ladder that CMA-ES has tuned."""

from __future__ import annotations

import numpy as np
import pytest

from gaprune.evolve import CMA, Tuned
from gaprune.evolve.tuned import TiltedSpace
from gaprune.genome import Floats, Genome
from gaprune.testing import ToyNetwork

SPACE = ToyNetwork.make((3, 24, 16, 20))
TILT = np.array([0.5, 0.0, -0.5])


def judged(genomes: list[Genome]) -> Floats:
    return np.array([SPACE.evaluate(SPACE.layout.unpack(genome)) for genome in genomes])


def test_it_begins_as_cma_does_and_goes_on_with_the_best_of_what_that_was_told() -> None:
    search, ladders = Tuned(SPACE, population=12, seed=3, tuning=2), CMA(SPACE, population=12, seed=3)
    for _ in range(2):
        genomes = search.ask()
        assert ladders.ask() == genomes
        for one in (search, ladders):
            one.tell(genomes, judged(genomes))
    assert search.front()[0] == ladders.front()[0]
    assert np.array_equal(search.state().arrays["tilt"], ladders.tilt)
    parents = {row.tobytes() for row in search.state().arrays["parents"]}
    assert len(parents) == 12
    assert len(parents & {genome.packed for genome in search.front()[0]}) >= min(12, len(search.front()[0]))
    assert search.state().arrays["told"].shape == (24, 3)
    assert search.generation == 2


def test_no_genome_of_the_ladder_is_asked_for_again() -> None:
    search = Tuned(SPACE, population=12, seed=0, tuning=2)
    asked: list[Genome] = []
    for _ in range(5):
        genomes = search.ask()
        asked += genomes
        search.tell(genomes, judged(genomes))
    assert len(set(asked)) == len(asked) == 60


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_tilted_space_differs_in_its_ladder_alone(level: float) -> None:
    tilted = TiltedSpace.of(SPACE, TILT)
    assert np.array_equal(tilted.shares(level), SPACE.tilted(TILT)(level))
    assert np.array_equal(tilted.tilted(-TILT)(level), SPACE.shares(level))
    bits = SPACE.repair(np.random.default_rng(0).random(SPACE.layout.size) < 0.5)
    assert np.array_equal(tilted.repair(bits), bits)
    assert np.array_equal(tilted.live(bits), SPACE.live(bits))
    assert tilted.cost(bits) == SPACE.cost(bits)
    assert tilted.layout is SPACE.layout
    assert tilted.importance is SPACE.importance


def test_nsga2_begins_with_rungs_of_the_tuned_ladder_where_the_search_began_with_the_spaces_own() -> None:
    search, ladders = Tuned(SPACE, population=12, seed=3, tuning=2), CMA(SPACE, population=12, seed=3)
    for _ in range(2):
        genomes = ladders.ask()
        ladders.tell(genomes, judged(genomes))
        search.tell(search.ask(), judged(genomes))
    ladders.drawn_seed()
    first, rungs = ladders.rungs(), ladders.mean_rungs()
    assert search.rungs() == first
    assert search.ask() == rungs
    search.tell(rungs, judged(rungs))
    assert search.rungs() == [*first, *rungs]
    costs = [[SPACE.cost(SPACE.layout.unpack(genome)) for genome in genomes] for genomes in (first, rungs)]
    assert sorted(costs[1])[:-1] == pytest.approx(sorted(costs[0])[:-1], rel=0.25, abs=0.02)


def test_a_search_has_rungs_at_the_budgets_that_people_ask_for() -> None:
    space = ToyNetwork.make((3, 256, 256, 256))
    costs = [space.cost(space.layout.unpack(genome)) for genome in CMA(space, population=24).ask()]
    for budget in (0.5, 0.25, 0.1, 0.05):
        assert any(0.95 * budget <= cost <= 1.001 * budget for cost in costs)


def test_a_state_of_old_that_does_not_know_its_first_rungs_takes_nothing_for_rungs() -> None:
    """What NSGA-II began with was bred then, and must not be trusted as a ladder is."""
    search = Tuned(SPACE, population=12, seed=1, tuning=1)
    search.tell(search.ask(), judged(search.ask()))
    state = search.state()
    assert search.rungs()
    del state.arrays["first"]
    old = Tuned(SPACE, population=12, seed=1, tuning=1)
    old.restore(state)
    old.tell(old.ask(), judged(old.ask()))
    again = Tuned(SPACE, population=12, seed=1, tuning=1)
    again.restore(old.state())
    assert old.rungs() == again.rungs() == []
