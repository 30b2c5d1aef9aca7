"""NSGA-II and NSGA-III by their selection alone, without guesses, on problems whose whole front is known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from gaprune.evolve import NSGA2, Algorithm, RandomSearch, hypervolume, nsga3
from gaprune.evolve.initial import informed, uninformed
from gaprune.testing import Problem, dtlz2, lotz, one_min_max, zdt5

PLAIN2, PLAIN3 = partial(NSGA2, screening=False), partial(nsga3, screening=False)

SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])
STARTS = pytest.mark.parametrize("initial", [informed, uninformed])


def is_whole(search: Algorithm, problem: Problem) -> bool:
    return np.array_equal(search.front()[1], problem.front)


def run(search: Algorithm, problem: Problem, evaluations: int) -> Algorithm:
    """Run until the whole front is found or the evaluations are spent."""
    spent = 0
    while spent < evaluations and not is_whole(search, problem):
        genomes = search.ask()
        search.tell(genomes, problem.objectives(genomes))
        spent += len(genomes)
    return search


def share(search: Algorithm, problem: Problem) -> float:
    """Hypervolume found, as a share of the known front's."""
    found, whole = (hypervolume(Y, problem.reference) for Y in (search.front()[1], problem.front))
    return found / whole


@SEEDS
@STARTS
def test_nsga2_finds_the_whole_front_of_one_min_max(seed, initial):
    problem = one_min_max(20)
    search = PLAIN2(problem.space, population=24, seed=seed, initial=initial)
    assert is_whole(run(search, problem, 960), problem)


@SEEDS
@STARTS
def test_nsga2_finds_the_whole_front_of_lotz(seed, initial):
    problem = lotz(16)
    search = PLAIN2(problem.space, population=20, seed=seed, initial=initial)
    assert is_whole(run(search, problem, 6000), problem)


@SEEDS
def test_nsga2_beats_random_search_on_lotz(seed):
    problem = lotz(24)
    shares = [
        share(run(algorithm(problem.space, population=20, seed=seed), problem, 1000), problem)
        for algorithm in (PLAIN2, RandomSearch)
    ]
    assert shares[0] > shares[1] + 0.05


@SEEDS
def test_nsga2_comes_within_1_percent_of_zdt5s_hypervolume(seed):
    problem = zdt5()
    search = PLAIN2(problem.space, population=40, seed=seed)
    assert share(run(search, problem, 1600), problem) >= 0.99


def test_nsga2_climbs_zdt5_far_where_the_full_genome_is_no_answer():
    """Deceptive blocks: four seeds reached 0.87 to 0.96, random search 0.76 to 0.82."""
    problem = zdt5(twist=1)
    search = PLAIN2(problem.space, population=40, seed=0)
    assert share(run(search, problem, 6000), problem) >= 0.85


def of_sphere(algorithm, objectives, *, seed, twist):
    """Hypervolume found of DTLZ2 within 480 evaluations, as a share of the known front's."""
    problem = dtlz2(objectives, steps=8, twist=twist)
    near = replace(problem, reference=np.full(objectives, 1.3))
    search = algorithm(problem.space, objectives=objectives, population=24, seed=seed)
    return share(run(search, problem, 480), near)


@pytest.mark.parametrize("twist", [None, 1])
def test_nsga3_beats_random_search_on_dtlz2_and_keeps_up_with_nsga2(twist):
    """Over five seeds: above random search in each, and on average not more than 5 % below NSGA-II."""
    found = {
        algorithm: np.array([of_sphere(algorithm, 3, seed=seed, twist=twist) for seed in range(5)])
        for algorithm in (PLAIN3, PLAIN2, RandomSearch)
    }
    assert (found[PLAIN3] > found[RandomSearch]).all()
    assert found[PLAIN3].mean() > 0.95 * found[PLAIN2].mean()


@SEEDS
def test_with_five_objectives_nsga3s_population_covers_more_than_nsga2s(seed):
    problem = dtlz2(5, steps=8)
    covered = []
    for algorithm in (PLAIN3, PLAIN2):
        search = run(algorithm(problem.space, objectives=5, population=24, seed=seed), problem, 480)
        covered.append(hypervolume(search.state().arrays["parents_Y"], np.full(5, 1.3)))
    assert covered[0] > 1.1 * covered[1]
