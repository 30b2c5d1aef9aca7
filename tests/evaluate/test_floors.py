from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaprune.evaluate import Candidate, Constraints, Floors, Objective, Outcome, resolve_objectives
from gaprune.evaluate.evaluator import raced_by
from gaprune.evolve.dominance import is_efficient
from gaprune.genome import Genome
from gaprune.prune.cut.costs import Costs


class Priced:
    """Of an evaluator what floors need; a genome is its prices, in tenths."""

    def __init__(
        self, objectives: Sequence[str | Objective], constraints: Constraints | None = None, racing: bool = False
    ) -> None:
        self.objectives = resolve_objectives(objectives)
        self.constraints = constraints or Constraints()
        self.raced = raced_by(self.objectives) if racing else None

    def prices(self, genome: Genome) -> dict[str, float]:
        names = [objective.name for objective in self.objectives if objective.costs_only]
        return dict(zip(names, (byte / 10 for byte in genome.packed), strict=True))

    def cost_violation(self, genome: Genome) -> float:
        return self.constraints.violation(costs_of(*genome.packed))


def costs_of(flops: int, params: int = 0) -> Costs:
    return Costs(flops, params, 1)


class Accuracies:
    """Floors of which the accuracies are looked at."""

    def __init__(self, floors: Floors) -> None:
        self._floors = floors
        self.learn = floors.learn

    def __call__(self, genomes: Sequence[Genome]) -> list[float] | None:
        found = self._floors(genomes)
        return None if found is None else [floor.accuracy for floor in found]


def floors(*objectives: str | Objective, **limits: float) -> Accuracies:
    evaluator: Any = Priced(objectives, Constraints(**limits))
    return Accuracies(Floors(evaluator))


def outcome(accuracy: float, *prices: float, names: Sequence[str] = ("flops", "params"), **marks: Any) -> Outcome:
    minimised = {"accuracy": 1 - accuracy, **dict(zip(names, prices, strict=False))}
    return Outcome(f"{accuracy} {prices}", {"accuracy": accuracy}, minimised, 0.0, **marks)


def test_the_floor_is_the_best_accuracy_that_costs_no_more() -> None:
    found = floors("accuracy", "flops")
    assert found([Genome(b"\x05")]) == [0.0]
    found.learn([outcome(0.7, 0.3), outcome(0.8, 0.5)])
    found.learn([outcome(0.6, 0.2), outcome(0.75, 0.5)])
    assert found([Genome(bytes([tenths])) for tenths in (1, 2, 3, 4, 5, 9)]) == [0.0, 0.6, 0.7, 0.7, 0.8, 0.8]


def test_every_cost_must_be_no_higher() -> None:
    found = floors("flops", "accuracy", "params")
    found.learn([outcome(0.9, 0.2, 0.8), outcome(0.5, 0.8, 0.2), outcome(0.3, 0.2, 0.2)])
    assert found([Genome(bytes(prices)) for prices in ((2, 7), (2, 8), (8, 2), (9, 9))]) == [0.3, 0.9, 0.5, 0.9]


def test_bounds_and_failures_set_no_floor() -> None:
    found = floors("accuracy", "flops")
    found.learn([outcome(0.9, 0.1, bound=True), Outcome("x", {}, {}, 0.0, "it broke"), outcome(0.4, 0.1)])
    assert found([Genome(b"\x05")]) == [0.4]


def own(candidate: Candidate) -> float:
    return 0.5


@pytest.mark.parametrize(
    "objectives",
    [
        ("loss", "flops"),
        ("accuracy", "loss", "flops"),
        ("flops", "size"),
        ("accuracy", Objective("own", "may measure", own, own)),
        (Objective("accuracy", "of another kind", own, own), "flops"),
    ],
)
def test_other_objectives_have_no_floors(objectives: tuple[str | Objective, ...]) -> None:
    found = floors(*objectives)
    found.learn([outcome(0.9, 0.1)])
    assert found([Genome(b"\x05")]) is None


def test_an_own_objective_of_costs_alone_has_floors() -> None:
    found = floors("accuracy", Objective("own", "costs", own, own, costs_only=True))
    found.learn([outcome(0.9, 0.3, names=["own"])])
    assert found([Genome(b"\x05")]) == [0.9]


def test_a_genome_that_cannot_be_priced_is_measured_to_the_end() -> None:
    found = floors("accuracy", "flops")
    found.learn([outcome(0.9, 0.3)])
    assert found([Genome(b"too many prices")]) == [0.0]


KNOWN = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)), max_size=12)


@given(KNOWN, st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)))
def test_below_its_floor_a_candidate_is_dominated_and_at_it_not_by_accuracy(
    known: list[tuple[int, int, int]], candidate: tuple[int, int, int]
) -> None:
    found = floors("accuracy", "flops", "params")
    found.learn([outcome(accuracy / 10, *(cost / 10 for cost in costs)) for accuracy, *costs in known])
    accuracy, *costs = candidate
    (floor,) = found([Genome(bytes(costs))]) or [None]
    rows = np.array([(10 - a, *c) for a, *c in [*known, candidate]], dtype=np.float64)
    assert floor is not None
    if accuracy / 10 < floor:
        assert not is_efficient(rows)[-1]
    better = [row for row in rows[:-1] if (row[1:] <= rows[-1][1:]).all() and row[0] < rows[-1][0]]
    assert bool(better) == (accuracy / 10 < floor)


def test_costs_alone_rule_a_candidate_out_once_a_network_violates_less() -> None:
    found = floors("accuracy", "flops", flops=5)
    genomes = [Genome(bytes([tenths])) for tenths in (4, 6, 8, 10)]
    assert found(genomes) == [0.0] * 4
    found.learn([outcome(0.9, 0.8, violation=0.6)])
    assert found(genomes) == [0.0, 0.0, 0.0, np.inf]
    found.learn([outcome(0.3, 0.4)])
    assert found(genomes) == [0.3, np.inf, np.inf, np.inf]


def test_what_violates_a_constraint_sets_no_floor_by_its_accuracy() -> None:
    found = floors("accuracy", "flops", "size", params=5)
    found.learn([outcome(0.9, 0.2, 0.1, names=["flops", "size"], violation=0.4)])
    found.learn([outcome(0.5, 0.2, 0.1, names=["flops", "size"])])
    assert found([Genome(bytes([3, 4]))]) == [0.5]


def test_below_the_accuracy_asked_for_a_candidate_is_stopped_once_a_network_has_it() -> None:
    found = floors("accuracy", "flops", accuracy=0.8)
    found.learn([outcome(0.7, 0.1, violation=0.125)])
    assert found([Genome(b"\x02"), Genome(b"\x06")]) == [0.0, 0.0]
    found.learn([outcome(0.85, 0.5)])
    assert found([Genome(b"\x02"), Genome(b"\x06")]) == [0.8, 0.85]


def test_with_an_accuracy_asked_for_objectives_of_costs_have_a_floor_too() -> None:
    found = floors("flops", "size", accuracy=0.8)
    found.learn([Outcome("a", {"accuracy": 0.9}, {"flops": 0.5, "size": 0.5}, 0.0)])
    assert found([Genome(bytes([2, 2]))]) == [0.8]


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "flops": st.integers(2, 9),
        "params": st.integers(2, 9),
        "accuracy": st.integers(1, 9).map(lambda n: n / 10),
    },
)


@given(KNOWN, st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)), st.integers(0, 10), LIMITS)
def test_a_bound_never_comes_before_what_is_known(
    known: list[tuple[int, int, int]], candidate: tuple[int, int, int], further: int, limits: dict[str, float]
) -> None:
    """Neither the accuracy that it would have had nor any upper bound below the floor dominates by Deb's rule."""
    constraints = Constraints(**limits)
    found = floors("accuracy", "flops", "params", **limits)

    def violation(accuracy: int, *costs: int) -> float:
        return constraints.violation(costs_of(*costs), accuracy / 10)

    found.learn([outcome(a / 10, *(cost / 10 for cost in c), violation=violation(a, *c)) for a, *c in known])
    accuracy, *costs = candidate
    (floor,) = found([Genome(bytes(costs))]) or [None]
    assert floor is not None
    for upper in {accuracy, min(accuracy + further, 10)}:
        if upper / 10 < floor:
            rows = [*known, (upper, *costs)]
            Y = np.array([(10 - a, *c) for a, *c in rows], dtype=np.float64)
            assert not is_efficient(Y, np.array([violation(*row) for row in rows]))[-1]
