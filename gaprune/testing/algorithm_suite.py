"""What every search algorithm must do: inherit ``AlgorithmSuite``, say how to make yours, run pytest.

class TestMine(AlgorithmSuite):
    def make(self, space, *, objectives, population, seed):
        return Mine(space, objectives=objectives, population=population, seed=seed)
"""
# The names of the tests are their docstrings, and the words of an error are the algorithm's own.
# ruff: noqa: D102, PT011

from __future__ import annotations

import abc
import json
import random

import numpy as np
import pytest
import safetensors.numpy

from gaprune.errors import OptionError
from gaprune.evolve import Algorithm, AlgorithmState, failed_row
from gaprune.genome import Floats, Genome, Space
from gaprune.testing.spaces import ToyNetwork


class AlgorithmSuite(abc.ABC):
    """Conformance tests of ``Algorithm``; a subclass named ``Test...`` is collected by pytest."""

    @abc.abstractmethod
    def make(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
        """A fresh algorithm; ``OptionError`` for a population below 4."""

    def small(self, *, population: int = 6, seed: int = 0, connections: bool = True) -> Algorithm:
        """An algorithm of two objectives on the suite's network."""
        return self.make(network(connections=connections), objectives=2, population=population, seed=seed)

    def test_asks_for_a_population_of_repaired_genomes_each_generation(self) -> None:
        algorithm, space = self.small(), network()
        for _ in range(4):
            genomes = algorithm.ask()
            assert len(genomes) == 6
            for genome in genomes:
                bits = space.layout.unpack(genome)
                assert np.array_equal(space.repair(bits), bits)
            algorithm.tell(genomes, evaluate(genomes))

    def test_ask_gives_the_same_list_until_told(self) -> None:
        algorithm = self.small()
        first = algorithm.ask()
        assert algorithm.ask() == first
        assert algorithm.generation == 0
        algorithm.tell(first, evaluate(first))
        assert algorithm.generation == 1

    def test_changing_the_list_asked_for_changes_nothing(self) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        expected = list(genomes)
        genomes.clear()
        assert algorithm.ask() == expected

    @pytest.mark.parametrize("population", [5, 12])
    def test_a_space_smaller_than_the_population_is_searched_all_the_same(self, population: int) -> None:
        space = ToyNetwork.make((2, 2))
        algorithm = self.make(space, objectives=2, population=population, seed=0)
        for _ in range(6):
            genomes = algorithm.ask()
            assert len(genomes) == population
            algorithm.tell(genomes, np.array([space.evaluate(space.layout.unpack(g)) for g in genomes]))

    @pytest.mark.parametrize("population", [4, 5, 7, 30])
    def test_any_population_from_4_up_works(self, population: int) -> None:
        algorithm = self.small(population=population)
        assert [len(genomes) for genomes, _ in generations(algorithm, 3)] == [population] * 3

    @pytest.mark.parametrize("population", [1, 2, 3])
    def test_populations_below_4_are_refused(self, population: int) -> None:
        with pytest.raises(OptionError, match=f"population must be at least 4, got {population}"):
            self.small(population=population)

    @pytest.mark.parametrize("objectives", [1, 2, 3])
    def test_any_number_of_objectives_works(self, objectives: int) -> None:
        algorithm = self.make(network(), objectives=objectives, population=6, seed=0)
        rng = np.random.Generator(np.random.PCG64(0))
        for _ in range(3):
            algorithm.tell(algorithm.ask(), rng.random((6, objectives)))
        assert algorithm.front()[1].shape[1] == objectives

    def test_tell_before_ask_is_refused(self) -> None:
        genomes = self.small().ask()
        with pytest.raises(ValueError):
            self.small().tell(genomes, evaluate(genomes))

    def test_a_second_tell_is_refused(self) -> None:
        algorithm = self.small()
        ((genomes, Y),) = generations(algorithm, 1)
        with pytest.raises(ValueError):
            algorithm.tell(genomes, Y)

    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_values_that_cannot_be_sorted_are_refused_and_nothing_changes(self, value: float) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        Y = evaluate(genomes)
        broken = Y.copy()
        broken[2, 0] = value
        with pytest.raises(ValueError):
            algorithm.tell(genomes, broken)
        assert algorithm.generation == 0
        assert algorithm.front()[0] == []
        algorithm.tell(genomes, Y)

    def test_wrong_shapes_are_refused(self) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        for shape in ((6, 3), (5, 2), (6,), (7, 2)):
            with pytest.raises(ValueError):
                algorithm.tell(genomes, np.zeros(shape))

    def test_foreign_or_reordered_genomes_are_refused(self) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        for wrong in (genomes[::-1], genomes[1:], [Genome(b"x"), *genomes[1:]]):
            with pytest.raises(ValueError):
                algorithm.tell(wrong, np.zeros((6, 2)))

    def test_failed_candidates_never_reach_the_front(self) -> None:
        algorithm = self.small()
        failed: set[Genome] = set()
        for _ in range(4):
            genomes = algorithm.ask()
            Y = evaluate(genomes)
            Y[0], Y[3, 1] = failed_row(2), np.inf
            failed |= {genomes[0], genomes[3]}
            algorithm.tell(genomes, Y)
        front, values = algorithm.front()
        assert front
        assert not failed & set(front)
        assert np.isfinite(values).all()

    def test_a_search_survives_generations_that_fail_altogether(self) -> None:
        algorithm = self.small()
        for _ in range(2):
            algorithm.tell(algorithm.ask(), np.full((6, 2), np.inf))
        assert algorithm.front()[0] == []
        assert algorithm.front()[1].shape == (0, 2)
        generations(algorithm, 1)
        assert algorithm.front()[0]

    def test_the_front_is_all_that_was_never_dominated_sorted(self) -> None:
        algorithm = self.small(population=10)
        told = generations(algorithm, 8)
        genomes = [genome for asked, _ in told for genome in asked]
        values = np.concatenate([Y for _, Y in told])
        expected = sorted(
            (tuple(row), index)
            for index, row in enumerate(values.tolist())
            if not any(dominates(other, row) for other in values) and values[:index].tolist().count(row) == 0
        )
        front, front_values = algorithm.front()
        assert front == [genomes[index] for _, index in expected]
        assert front_values.tolist() == [list(row) for row, _ in expected]

    def test_what_is_expected_never_shows_on_the_front(self) -> None:
        algorithm = self.small()
        for _ in range(4):
            genomes = algorithm.ask()
            Y = evaluate(genomes)
            expected = Y + 1.0
            expected[0, 0] = np.nan
            algorithm.tell(genomes, Y, expected=expected)
        values = algorithm.front()[1]
        assert np.array_equal(values, np.array([evaluate([genome])[0] for genome in algorithm.front()[0]]))

    def test_of_equal_objectives_the_first_told_stays_on_the_front(self) -> None:
        algorithm = self.small()
        first = algorithm.ask()
        algorithm.tell(first, np.ones((6, 2)))
        algorithm.tell(algorithm.ask(), np.ones((6, 2)))
        assert algorithm.front()[0] == first[:1]

    @pytest.mark.parametrize("limit", [0.0, 0.05, 0.5, 2.0])
    def test_the_front_keeps_to_the_constraints_or_comes_nearest(self, limit: float) -> None:
        """Nothing, a few, many or all of the genomes keep to the limit."""
        algorithm = self.small(population=10)
        told: list[tuple[float, tuple[float, ...]]] = []
        for _ in range(6):
            genomes = algorithm.ask()
            Y = evaluate(genomes)
            violation = beyond(Y, limit)
            algorithm.tell(genomes, Y, violation)
            told += zip(violation.tolist(), map(tuple, Y.tolist()), strict=True)
            nearest = {row for off, row in told if off == min(told)[0]}
            expected = sorted(row for row in nearest if not any(dominates(np.array(a), np.array(row)) for a in nearest))
            front, values = algorithm.front()
            assert [tuple(row) for row in values.tolist()] == expected
            assert np.array_equal(evaluate(front), values)

    def test_no_violations_are_the_same_as_violations_of_0(self) -> None:
        plain, constrained = self.small(), self.small()
        for _ in range(4):
            genomes = plain.ask()
            assert constrained.ask() == genomes
            plain.tell(genomes, evaluate(genomes))
            constrained.tell(genomes, evaluate(genomes), np.zeros(6))
        assert same_state(plain.state(), constrained.state())

    def test_violations_that_say_nothing_are_refused_and_nothing_changes(self) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        Y = evaluate(genomes)
        wrong = [np.zeros(5), np.zeros((6, 1)), np.full(6, np.nan), np.full(6, -1.0), np.full(6, -np.inf)]
        for violation in wrong:
            with pytest.raises(ValueError):
                algorithm.tell(genomes, Y, violation)
        assert algorithm.generation == 0
        assert algorithm.front()[0] == []
        algorithm.tell(genomes, Y, np.zeros(6))

    def test_a_failed_candidate_comes_behind_any_violation(self) -> None:
        algorithm = self.small()
        genomes = algorithm.ask()
        Y = evaluate(genomes)
        Y[1:] = failed_row(2)
        violation = np.zeros(6)
        violation[0] = 1e9
        algorithm.tell(genomes, Y, violation)
        assert algorithm.front()[0] == genomes[:1]

    def test_changing_the_front_given_out_changes_nothing(self) -> None:
        algorithm = self.small()
        generations(algorithm, 1)
        genomes, values = algorithm.front()
        expected = list(genomes), values.copy()
        genomes.clear()
        values[:] = 0
        assert algorithm.front()[0] == expected[0]
        assert np.array_equal(algorithm.front()[1], expected[1])

    def test_it_stands_on_its_first_generation_and_on_what_was_told(self) -> None:
        algorithm = self.small()
        assert algorithm.rungs() == []
        started, _ = generations(algorithm, 1)[0]
        stood_on = algorithm.rungs()
        assert stood_on in ([], started)
        told = history(algorithm, 7)
        assert algorithm.rungs()[: len(stood_on)] == stood_on
        assert set(algorithm.rungs()) <= {*started, *(genome for genomes in told for genome in genomes)}

    def test_the_same_seed_asks_for_the_same_genomes(self) -> None:
        assert history(self.small(seed=3), 5) == history(self.small(seed=3), 5)

    @pytest.mark.parametrize("told", [0, 1, 4, 8])
    @pytest.mark.parametrize("asked", [False, True])
    def test_a_restored_search_continues_bit_for_bit(self, told: int, asked: bool) -> None:
        whole = self.small(seed=1)
        generations(whole, told)
        if asked:
            whole.ask()
        saved = through_files(whole.state())
        rest = history(whole, 4)
        resumed = self.small(seed=99)
        generations(resumed, 2)
        resumed.restore(saved)
        assert resumed.generation == told
        assert history(resumed, 4) == rest
        assert resumed.front()[0] == whole.front()[0]
        assert resumed.front()[1].tobytes() == whole.front()[1].tobytes()
        assert resumed.rungs() == whole.rungs()
        assert same_state(resumed.state(), whole.state())

    @pytest.mark.parametrize("limit", [0.0, 0.3])
    def test_a_restored_search_with_constraints_continues_bit_for_bit(self, limit: float) -> None:
        whole, resumed = self.small(seed=1), self.small(seed=99)
        for _ in range(2):
            tell_beyond(whole, limit)
        resumed.restore(through_files(whole.state()))
        for _ in range(3):
            assert tell_beyond(resumed, limit) == tell_beyond(whole, limit)
        assert resumed.front()[0] == whole.front()[0]
        assert same_state(resumed.state(), whole.state())

    def test_a_state_is_a_snapshot(self) -> None:
        algorithm = self.small()
        generations(algorithm, 2)
        state = algorithm.state()
        before = through_files(state)
        generations(algorithm, 2)
        assert same_state(state, before)

    def test_a_state_that_does_not_fit_is_refused(self) -> None:
        algorithm = self.small()
        generations(algorithm, 2)
        state = algorithm.state()
        for other in (self.small(population=7), self.small(connections=False)):
            with pytest.raises(ValueError):
                other.restore(state)

    def test_global_random_states_are_untouched(self) -> None:
        before = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
        generations(self.small(population=7), 3)
        after = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
        assert after[0] == before[0]
        assert repr(after[1]) == repr(before[1])

    def test_global_random_states_have_no_influence(self) -> None:
        saved = random.getstate()
        try:
            random.seed(1)
            one = history(self.small(), 3)
            random.seed(2)
            assert history(self.small(), 3) == one
        finally:
            random.setstate(saved)


def network(*, connections: bool = True) -> ToyNetwork:
    """The suite's network: small, with every kind of section, and with repairs that matter."""
    return ToyNetwork.make((3, 6, 8, 5), connections=connections)


def evaluate(genomes: list[Genome], *, connections: bool = True) -> Floats:
    """(n, 2) objectives on the suite's network."""
    space = network(connections=connections)
    return np.array([space.evaluate(space.layout.unpack(genome)) for genome in genomes])


def generations(algorithm: Algorithm, count: int) -> list[tuple[list[Genome], Floats]]:
    """Run some generations on the suite's network; what was asked and told in each."""
    told = []
    for _ in range(count):
        genomes = algorithm.ask()
        Y = evaluate(genomes)
        algorithm.tell(genomes, Y)
        told.append((genomes, Y))
    return told


def beyond(Y: Floats, limit: float) -> Floats:
    """(n,) violations of a limit on the second objective."""
    return np.maximum(0.0, Y[:, 1] - limit)


def tell_beyond(algorithm: Algorithm, limit: float) -> list[Genome]:
    """Run a generation with a limit on the second objective; what was asked."""
    genomes = algorithm.ask()
    Y = evaluate(genomes)
    algorithm.tell(genomes, Y, beyond(Y, limit))
    return genomes


def history(algorithm: Algorithm, count: int) -> list[list[Genome]]:
    """The genomes asked for in some generations, and in the one after."""
    return [*(genomes for genomes, _ in generations(algorithm, count)), algorithm.ask()]


def dominates(a: Floats, b: Floats) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better."""
    return bool(np.all(a <= b) and np.any(a < b))


def through_files(state: AlgorithmState) -> AlgorithmState:
    """A state as a run directory gives it back: arrays through safetensors, the rest through JSON."""
    arrays = safetensors.numpy.load(safetensors.numpy.save(state.arrays))
    return AlgorithmState(arrays, json.loads(json.dumps(state.meta)))


def same_state(a: AlgorithmState, b: AlgorithmState) -> bool:
    """Whether two states are equal to the last bit."""
    return (
        a.meta == b.meta
        and a.arrays.keys() == b.arrays.keys()
        and all(
            a.arrays[name].dtype == b.arrays[name].dtype
            and a.arrays[name].shape == b.arrays[name].shape
            and a.arrays[name].tobytes() == b.arrays[name].tobytes()
            for name in a.arrays
        )
    )
