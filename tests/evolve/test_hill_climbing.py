from __future__ import annotations

import numpy as np

from gaprune.evolve import Algorithm, HillClimbing
from gaprune.evolve.initial import ladder
from gaprune.genome import Space
from gaprune.testing import ToyNetwork
from gaprune.testing.algorithm_suite import AlgorithmSuite, evaluate, generations, network

SPACE = ToyNetwork.make((3, 40, 60, 30), connections=False)


class TestHillClimbing(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return HillClimbing(space, objectives=objectives, population=population, seed=seed)


def test_it_begins_on_the_ladder():
    rng = np.random.Generator(np.random.PCG64(0))
    assert HillClimbing(SPACE, population=8).ask() == ladder(SPACE, 8, rng)


def test_a_climber_gets_better_at_its_own_cost():
    search = HillClimbing(SPACE, population=8, seed=1)
    begun = search.ask()
    objectives = [np.array([SPACE.evaluate(SPACE.layout.unpack(g)) for g in begun])]
    search.tell(begun, objectives[0])
    for _ in range(12):
        genomes = search.ask()
        search.tell(genomes, np.array([SPACE.evaluate(SPACE.layout.unpack(g)) for g in genomes]))
    ended = search.state().arrays["at"][:, 1:]
    assert (ended[:, 0] <= objectives[0][:, 0]).all()
    assert (ended[:, 0] < objectives[0][:, 0]).any()
    assert (ended[:, 1] <= objectives[0][:, 1] * 1.01).all()


def test_a_climber_leaves_what_violates_constraints_first():
    search = HillClimbing(network(), population=6)
    genomes = search.ask()
    search.tell(genomes, evaluate(genomes), np.ones(6))
    genomes = search.ask()
    search.tell(genomes, evaluate(genomes) + 1.0, np.full(6, 0.5))
    assert (search.state().arrays["at"][:, 0] == 0.5).all()
    generations(search, 1)
