from __future__ import annotations

import math
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest

import gaprune
from gaprune.errors import OptionError
from gaprune.evaluate import Measurement, Objective, judged_by, objective_names, resolve_objectives
from gaprune.prune.cut.costs import Costs

NAMES = ("accuracy", "loss", "divergence", "flops", "params", "size", "latency", "robustness")
AT_LEAST_TWO = f"objectives must be at least two of {', '.join(NAMES)}, got "
SLOWEST = Objective("slowest", "a test's own", lambda c: 1.0, lambda c: 1.0)


@pytest.fixture(autouse=True)
def own_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module that can be imported."""
    module: Any = types.ModuleType("own_objectives")
    module.SLOWEST, module.NOT_AN_OBJECTIVE = SLOWEST, 3
    monkeypatch.setitem(sys.modules, "own_objectives", module)


@dataclass(frozen=True)
class Judged:
    """A candidate with 3 of 4 images right, and half of everything left."""

    costs: Costs = field(default=Costs(flops=50, params=20, size=80))
    original: Costs = field(default=Costs(flops=100, params=40, size=160))
    measured: Measurement = field(default=Measurement(correct=3, total=4, loss=0.5, divergence=0.25))
    divergence: float = 0.25
    score: float = 0.75
    classes: int = 10


@pytest.mark.parametrize(
    ("name", "value", "minimised"),
    [
        ("accuracy", 0.75, 0.25),
        ("loss", 0.5, 0.5 / math.log(10)),
        ("divergence", 0.25, 0.25 / math.log(10)),
        ("flops", 50, 0.5),
        ("params", 20, 0.5),
        ("size", 80, 0.5),
    ],
)
def test_objectives_report_plain_values_and_minimise_shares(name: str, value: float, minimised: float) -> None:
    (objective,) = (o for o in resolve_objectives(objective_names()) if o.name == name)
    assert objective.value(Judged()) == value
    assert objective.minimised(Judged()) == pytest.approx(minimised)
    assert objective.reference == 1.0
    assert objective.description


def test_the_names_are_those_of_the_manual_in_the_order_asked_for() -> None:
    assert objective_names() == NAMES
    assert [o.name for o in resolve_objectives(["flops", "accuracy"])] == ["flops", "accuracy"]


def test_an_objective_of_ones_own_is_an_object_or_an_import_path() -> None:
    assert resolve_objectives(["flops", SLOWEST])[1] is SLOWEST
    by_path = resolve_objectives(["flops", "own_objectives:SLOWEST"])[1]
    assert (by_path.name, by_path.description) == ("slowest", "a test's own")
    assert gaprune.Objective is Objective


def test_costs_alone_need_no_measuring() -> None:
    assert [o.name for o in resolve_objectives(objective_names()) if o.costs_only] == ["flops", "params", "size"]
    assert not SLOWEST.costs_only


def test_a_search_for_one_class_does_not_divide_by_zero() -> None:
    loss = resolve_objectives(["loss", "flops"])[0]
    assert math.isfinite(loss.minimised(Judged(classes=1)))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["accuracy", "speed"],
            f"unknown objective 'speed': choose one of {', '.join(NAMES)}, package.module:NAME",
        ),
        (["accuracy"], f"{AT_LEAST_TWO}accuracy"),
        ([], f"{AT_LEAST_TWO}none"),
        (["flops", "accuracy", "flops"], "objective 'flops' is given twice"),
        (["flops", "no_such_module:X"], "objective 'no_such_module:X' cannot be imported: No module named"),
        (["flops", "own_objectives:NOTHING"], "objective 'own_objectives:NOTHING' cannot be imported: "),
        (
            ["flops", "own_objectives:NOT_AN_OBJECTIVE"],
            "objective 'own_objectives:NOT_AN_OBJECTIVE' is a int, not a gaprune Objective",
        ),
        (["flops", ":X"], "objective ':X' "),
        (
            ["flops", len],
            "an objective must be a name or a gaprune.Objective, got builtin_function_or_method: ",
        ),
        (["flops", 3], "an objective must be a name or a gaprune.Objective, got int: give its name, or gaprune.Obj"),
        (["flops", "math:"], "objective 'math:' "),
    ],
)
def test_bad_objectives_are_answered_in_one_line(wanted: list[Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        resolve_objectives(wanted)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "fitness", "found"),
    [
        (("accuracy", "flops"), "accuracy", ("accuracy", "flops")),
        (("accuracy", "flops"), "loss", ("loss", "flops")),
        (("flops", "accuracy", "size"), "divergence", ("flops", "divergence", "size")),
        (("accuracy", "loss", "flops"), "loss", ("loss", "flops")),
        (("loss", "flops"), "divergence", ("loss", "flops")),
        (("accuracy", SLOWEST), "divergence", ("divergence", SLOWEST)),
        (("accuracy", "accuracy"), "accuracy", ("accuracy", "accuracy")),
    ],
)
def test_fitness_stands_for_accuracy_once(wanted: tuple[Any, ...], fitness: str, found: tuple[Any, ...]) -> None:
    assert judged_by(wanted, fitness) == found
