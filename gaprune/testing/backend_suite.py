"""What every backend must do: inherit ``BackendSuite``, say how to make yours, run pytest.

class TestMine(BackendSuite):
    def make(self, evaluate, *, threads):
        return Mine(evaluate, threads=threads)
"""
# The names of the tests are their docstrings.
# ruff: noqa: D102

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import pytest
import torch

from gaprune.evaluate import Backend, Floor, Outcome
from gaprune.genome import Genome

Evaluate = Callable[[Genome, Floor], Outcome]

THREADS = 1

FAILS, RAISES = 0xF0, 0xF1
"""First bytes of genomes that fail, and that raise what an evaluator never does."""


class BackendSuite(abc.ABC):
    """Conformance tests of ``Backend``; a subclass named ``Test...`` is collected by pytest."""

    @abc.abstractmethod
    def make(self, evaluate: Evaluate, *, threads: int) -> Backend:
        """A fresh backend.

        Args:
            evaluate: genome and what is known of it before, to outcome; it can be pickled.
            threads: torch threads of an evaluation.
        """

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Iterator[Backend]:
        """One for the tests that leave it as it was."""
        made = cls().make(stand_in, threads=THREADS)
        yield made
        made.close()

    def test_every_genome_has_its_own_outcome_once(self, backend: Backend) -> None:
        genomes = numbered(range(17))
        found = list(backend.evaluate(genomes))
        assert sorted(index for index, _ in found) == list(range(17))
        for index, outcome in found:
            assert outcome.key == genomes[index].key
            assert outcome.values["first"] == index

    def test_no_genomes_give_no_outcomes(self, backend: Backend) -> None:
        assert list(backend.evaluate([])) == []
        assert list(backend.evaluate([], [])) == []

    def test_each_genome_is_measured_down_to_its_own_floor(self, backend: Backend) -> None:
        floors = [Floor(0.25), Floor(), Floor(0.75, "gA==", 0.5), Floor(1 / 3)]
        found = dict(backend.evaluate(numbered(range(4)), floors))
        assert [found[index].values["floor"] for index in range(4)] == [floor.accuracy for floor in floors]
        assert [found[index].marks for index in range(4)] == [floor.rival for floor in floors]

    def test_without_floors_everything_is_measured_to_the_end(self, backend: Backend) -> None:
        assert {outcome.values["floor"] for _, outcome in backend.evaluate(numbered(range(3)))} == {0.0}

    def test_outcomes_arrive_to_the_last_bit(self, backend: Backend) -> None:
        genomes = numbered(range(40, 48))
        found = dict(backend.evaluate(genomes))
        for index, genome in enumerate(genomes):
            assert found[index] == stand_in(genome, Floor())

    def test_failed_candidates_come_back_with_their_reason_beside_the_others(self, backend: Backend) -> None:
        found = dict(backend.evaluate(numbered([1, FAILS, 2])))
        assert found[1].failure == "meant to fail"
        assert [found[0].failure, found[2].failure] == [None, None]

    def test_equal_genomes_are_evaluated_as_often_as_given(self, backend: Backend) -> None:
        assert sorted(index for index, _ in backend.evaluate(numbered([3, 3, 3]))) == [0, 1, 2]

    def test_one_call_follows_another(self, backend: Backend) -> None:
        for start in (0, 5, 0):
            found = dict(backend.evaluate(numbered(range(start, start + 5))))
            assert [found[index].values["first"] for index in range(5)] == list(range(start, start + 5))

    def test_an_abandoned_call_leaves_nothing_to_the_next(self, backend: Backend) -> None:
        """As after Ctrl-C: what was in flight is nobody's."""
        steps = backend.evaluate(numbered(range(100, 120)))
        assert len(list(islice(steps, 2))) == 2
        del steps
        found = dict(backend.evaluate(numbered(range(6))))
        assert [found[index].values["first"] for index in range(6)] == list(range(6))

    def test_an_error_that_no_evaluator_lets_out_comes_through_and_the_backend_works_on(self, backend: Backend) -> None:
        with pytest.raises(ZeroDivisionError, match="meant to raise"):
            list(backend.evaluate(numbered([1, RAISES, 2])))
        assert len(list(backend.evaluate(numbered(range(4))))) == 4

    def test_evaluations_run_on_the_threads_asked_for(self, backend: Backend) -> None:
        assert {outcome.values["threads"] for _, outcome in backend.evaluate(numbered(range(4)))} == {THREADS}

    def test_the_callers_own_threads_stay(self, backend: Backend) -> None:
        before = torch.get_num_threads()
        list(backend.evaluate(numbered(range(2))))
        assert torch.get_num_threads() == before

    def test_what_was_given_is_not_changed(self, backend: Backend) -> None:
        genomes, floors = numbered(range(5)), [Floor(0.5)] * 5
        list(backend.evaluate(genomes, floors))
        assert (genomes, floors) == (numbered(range(5)), [Floor(0.5)] * 5)

    def test_figures_are_words(self, backend: Backend) -> None:
        list(backend.evaluate(numbered(range(3))))
        assert all(isinstance(value, str) for value in backend.figures().values())

    def test_it_can_be_started_for_no_more_candidates_than_there_are(self, backend: Backend) -> None:
        backend.start(2)
        assert len(list(backend.evaluate(numbered(range(2))))) == 2

    def test_what_an_evaluation_closes_over_goes_with_it_and_closing_twice_is_harmless(self) -> None:
        shift = 0.125
        made = self.make(
            lambda genome, floor: Outcome(genome.key, {"shifted": genome.packed[0] + shift}, {}, 0.0), threads=THREADS
        )
        try:
            ((_, outcome),) = made.evaluate(numbered([8]))
            assert outcome.values == {"shifted": 8.125}
        finally:
            made.close()
        made.close()


def numbered(firsts: Sequence[int] | range) -> list[Genome]:
    """Genomes whose first byte is as given."""
    return [Genome(bytes([first, 0x5A, 0xFF])) for first in firsts]


def stand_in(genome: Genome, floor: Floor) -> Outcome:
    """A pure function of the genome, which says what it was given and computes a little."""
    first = genome.packed[0]
    if first == RAISES:
        raise ZeroDivisionError("meant to raise")
    if first == FAILS:
        return Outcome(genome.key, {}, {}, 0.0, "meant to fail")
    x = torch.linspace(0.1, 1.0, 4096) * (first + 1)
    values = {
        "first": float(first),
        "floor": floor.accuracy,
        "threads": float(torch.get_num_threads()),
        "sum": float(torch.softmax(x, 0).square().sum()),
    }
    return Outcome(genome.key, values, {"sum": values["sum"] / 3}, 0.0, bound=floor.accuracy > 0.5, marks=floor.rival)
