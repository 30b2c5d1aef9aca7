from __future__ import annotations

import itertools
from functools import partial

import deap.creator
import numpy as np
import pytest

from gaprune.evolve import NSGA2, Algorithm, RandomSearch, Tuned, make_algorithm, nsga3
from gaprune.evolve.initial import halving, uninformed
from gaprune.genome import Space
from gaprune.testing.algorithm_suite import AlgorithmSuite, evaluate, generations, history, network, tell_beyond


class TestNSGA2(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return make_algorithm("nsga2", space, objectives=objectives, population=population, seed=seed)


class TestNSGA3(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return make_algorithm("nsga3", space, objectives=objectives, population=population, seed=seed)


class TestRandomSearch(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return make_algorithm("random", space, objectives=objectives, population=population, seed=seed)


class TestCMA(AlgorithmSuite):
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return make_algorithm("cma", space, objectives=objectives, population=population, seed=seed)


class TestTuned(AlgorithmSuite):
    """Two generations of the ladder, so that most tests see both parts."""

    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        return Tuned(space, objectives=objectives, population=population, seed=seed, tuning=2)


CLASSES = pytest.mark.parametrize("algorithm", [NSGA2, partial(nsga3, objectives=2), RandomSearch])
ELITIST = pytest.mark.parametrize("algorithm", [NSGA2, partial(nsga3, objectives=2)])


@CLASSES
def test_the_first_generation_contains_the_whole_network(algorithm):
    layout = network().layout
    assert layout.pack(np.ones(layout.size, dtype=np.bool_)) in algorithm(network()).ask()


@CLASSES
def test_no_genome_is_asked_for_twice_while_there_are_new_ones(algorithm):
    told = generations(algorithm(network(), population=30), 8)
    asked = [genome for genomes, _ in told for genome in genomes]
    assert len(set(asked)) == len(asked) == 240


@CLASSES
def test_another_seed_asks_for_other_genomes(algorithm):
    assert history(algorithm(network(), seed=3), 1) != history(algorithm(network(), seed=4), 1)


@CLASSES
def test_the_initial_population_is_replaceable(algorithm):
    space = network()
    drawn = uninformed(space, 30, np.random.Generator(np.random.PCG64(5)))
    first = algorithm(space, population=30, seed=5, initial=uninformed).ask()
    assert len(set(drawn) & set(first)) >= 25


def test_all_algorithms_begin_with_the_same_generation():
    """NSGA-II and -III in an order that has seen all budgets early."""
    first = NSGA2(network(), seed=7).ask()
    drawn = RandomSearch(network(), seed=7).ask()
    assert [drawn[index] for index in halving(len(drawn))] == first
    assert nsga3(network(), seed=7).ask() == first


def test_random_search_never_listens_to_the_objectives():
    one, other = RandomSearch(network(), population=6), RandomSearch(network(), population=6)
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(4):
        genomes = one.ask()
        assert other.ask() == genomes
        one.tell(genomes, evaluate(genomes))
        other.tell(genomes, rng.random((6, 2)))


def test_nsga2_never_loses_the_best_of_either_objective():
    search = NSGA2(network(), population=6, seed=2)
    best = np.full(2, np.inf)
    for genomes, Y in generations(search, 10):
        best = np.minimum(best, Y.min(axis=0))
        assert len(genomes) == 6
    assert np.array_equal(search.state().arrays["parents_Y"].min(axis=0), best)


@ELITIST
def test_any_sound_candidate_goes_before_a_failed_one(algorithm):
    search = algorithm(network(), population=6)
    for _ in range(3):
        genomes = search.ask()
        Y = evaluate(genomes)
        Y[::2] = np.inf, -1.0
        search.tell(genomes, Y)
    assert np.isfinite(search.state().arrays["parents_Y"]).all()


@ELITIST
def test_what_keeps_to_the_constraints_goes_before_what_does_not(algorithm):
    """From a tenth of the cost on at most: the informed first generation reaches far above."""
    search = algorithm(network(), population=12, seed=3)
    least = []
    for _ in range(12):
        tell_beyond(search, 0.1)
        least.append(search.state().arrays["parents_violation"])
    assert least[0].max() > 0
    assert all(np.sum(after == 0) >= np.sum(before == 0) for before, after in itertools.pairwise(least))
    assert not least[-1].any()


@ELITIST
def test_of_what_does_not_keep_to_the_constraints_the_nearest_live_on(algorithm):
    search = algorithm(network(), population=6)
    told = []
    for _ in range(4):
        genomes = search.ask()
        violation = 1 + np.random.default_rng(len(told)).random(6)
        search.tell(genomes, evaluate(genomes), violation)
        told += violation.tolist()
    assert sorted(search.state().arrays["parents_violation"]) == sorted(told)[:6]


def test_a_state_holds_no_genome_of_the_past_but_its_key():
    search = NSGA2(network(), population=6)
    generations(search, 4)
    assert search.state().arrays["seen"].shape == (24, 16)


@CLASSES
def test_a_state_of_the_other_algorithm_is_refused(algorithm):
    other = NSGA2 if algorithm is RandomSearch else RandomSearch
    with pytest.raises(ValueError, match="another search: its algorithm differ"):
        algorithm(network()).restore(other(network()).state())


def test_a_damaged_state_is_refused():
    search = NSGA2(network(), population=6)
    generations(search, 1)
    state = search.state()
    state.arrays["parents"] = state.arrays["parents"][:, :-1]
    with pytest.raises(ValueError, match="uint8 genomes"):
        NSGA2(network(), population=6).restore(state)


def test_deaps_creator_module_stays_empty_of_our_classes():
    before = set(vars(deap.creator))
    generations(NSGA2(network(), population=6), 2)
    assert set(vars(deap.creator)) == before
