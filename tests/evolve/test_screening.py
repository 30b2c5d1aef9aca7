"""NSGA-II with and without guesses, on a space whose best widths are off the ladder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gaprune.evolve import NSGA2, HillClimbing, RandomSearch, hypervolume
from gaprune.evolve.profile import Profiler
from gaprune.evolve.ranked import rank
from gaprune.evolve.screening import Screen
from gaprune.genome import Floats, Genome
from gaprune.testing import ToyNetwork

SPACE = ToyNetwork.make((3, 32, 48, 64, 64, 48), connections=False)
REFERENCE = np.ones(2)


class OffTheLadder:
    """Error by cost, plus what departures from some widths that are not the ladder's add."""

    def __init__(self, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        self._profile = Profiler(rank(SPACE))
        self._best = 0.4 * rng.standard_normal(5)
        self._price = rng.uniform(0.02, 0.1, 5)

    def __call__(self, genomes: list[Genome]) -> Floats:
        """(n, 2) error and cost."""
        return np.array([self._one(genome) for genome in genomes])

    def _one(self, genome: Genome) -> Floats:
        bits = SPACE.layout.unpack(genome)
        profile = self._profile(bits)
        trend = 0.15 + 0.75 / (1 + np.exp(2 * (profile[0] + 3.5)))
        return np.array([trend + self._price @ (profile[1:6] - self._best) ** 2, SPACE.cost(bits)])


def found(algorithm, seed, generations=8) -> float:
    evaluate = OffTheLadder(seed)
    for _ in range(generations):
        genomes = algorithm.ask()
        algorithm.tell(genomes, evaluate(genomes))
    return hypervolume(algorithm.front()[1], REFERENCE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_guessing_beats_not_guessing_climbing_and_random_search(seed):
    guessed = found(NSGA2(SPACE, population=16, seed=seed), seed)
    plain = found(NSGA2(SPACE, population=16, seed=seed, screening=False), seed)
    climbed = found(HillClimbing(SPACE, population=16, seed=seed), seed)
    drawn = found(RandomSearch(SPACE, population=16, seed=seed), seed)
    assert guessed > max(plain, climbed, drawn)


def test_a_child_is_neither_seen_before_nor_suggested_twice():
    search = NSGA2(SPACE, population=16, seed=0)
    evaluate, seen = OffTheLadder(0), set()
    for _ in range(5):
        genomes = search.ask()
        assert len(set(genomes)) == len(genomes)
        assert not seen & set(genomes)
        seen |= set(genomes)
        search.tell(genomes, evaluate(genomes))


@pytest.mark.parametrize("told", [0, 6])
def test_nothing_is_suggested_before_enough_is_told(told):
    search = NSGA2(SPACE, population=16, seed=0)
    genomes = search.ask()
    screen: Screen = search._screen
    Y = OffTheLadder(0)(genomes[:told]) if told else np.empty((0, 2))
    screen.learn(genomes[:told], Y, np.zeros(told), Y)
    assert screen.children(genomes, 4) == []


def test_nothing_is_suggested_where_guessing_does_not_work():
    search = NSGA2(SPACE, population=16, seed=0)
    genomes = search.ask()
    noise = np.random.Generator(np.random.PCG64(0)).random((16, 2))
    search._screen.learn(genomes, noise, np.zeros(16), noise)
    assert search._screen.children(genomes, 4) == []


def test_failures_teach_nothing():
    search = NSGA2(SPACE, population=16, seed=0)
    genomes = search.ask()
    Y = OffTheLadder(0)(genomes)
    Y[3] = np.inf
    search.tell(genomes, Y)
    assert search.state().arrays["told"].shape == (15, 3)


def test_children_that_would_break_a_constraint_are_passed_over():
    """A constraint on the cost: most of what is suggested keeps it, though half of what was told broke it."""
    search, evaluate = NSGA2(SPACE, population=16, seed=0), OffTheLadder(0)
    for _ in range(4):
        genomes = search.ask()
        Y = evaluate(genomes)
        search.tell(genomes, Y, np.maximum(Y[:, 1] / 0.3 - 1, 0))
    suggested = search._screen.children(search.front()[0], 12)
    costs = np.array([SPACE.cost(child.bits) for child in suggested])
    assert len(costs) == 12
    assert (costs <= 0.3 * 1.05).mean() >= 0.75


def test_a_bound_teaches_what_is_expected_and_nothing_where_nobody_knows():
    search = NSGA2(SPACE, population=16, seed=0)
    genomes = search.ask()
    Y = OffTheLadder(0)(genomes)
    expected = Y.copy()
    expected[2, 0], expected[5, 0] = 0.77, np.nan
    search.tell(genomes, Y, expected=expected)
    told = search.state().arrays["told"]
    assert told[2, 0] == 0.77
    assert np.isnan(told[5, 0])
    assert len(search.ask()) == 16


def test_while_nothing_keeps_to_the_constraints_those_children_are_chosen_that_come_nearest():
    search, evaluate = NSGA2(SPACE, population=16, seed=0), OffTheLadder(0)
    for _ in range(3):
        genomes = search.ask()
        Y = evaluate(genomes)
        search.tell(genomes, Y, 1.0 + Y[:, 1])
    parents = search.front()[0]
    costs = [SPACE.cost(child.bits) for child in search._screen.children(parents, 8)]
    assert max(costs) < 0.1


def test_the_children_do_not_depend_on_the_number_of_blas_threads():
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *map(str, sys.path)]!r}
from test_screening import OffTheLadder, SPACE
from gaprune.evolve import NSGA2
search, evaluate = NSGA2(SPACE, population=16, seed=0), OffTheLadder(0)
for _ in range(6):
    genomes = search.ask()
    search.tell(genomes, evaluate(genomes))
print(*(genome.key for genome in search.ask()))
"""
    asked = set()
    for threads in ("1", "2"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        folder = Path(__file__).parent
        command = [sys.executable, "-c", script]
        made = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
        asked.add(made.stdout)
    assert len(asked) == 1


@pytest.mark.parametrize("screening", [False, True])
def test_a_state_with_guesses_does_not_fit_a_search_without_nor_the_other_way_round(screening):
    state = NSGA2(SPACE, population=16, seed=0, screening=screening).state()
    with pytest.raises(ValueError, match="another search: its screening differs"):
        NSGA2(SPACE, population=16, seed=0, screening=not screening).restore(state)
