"""Which algorithm and fitness a new run has where they are left open, and that old runs keep theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaprune.errors import OptionError
from gaprune.options import SearchOptions, options_record, resumed_options
from gaprune.options.search import settled

TUNED = ("tuned", "divergence")
USUAL = ("auto", "accuracy")  # nsga2 for two objectives, nsga3 for more


def found(*, own: bool = False, **options: Any) -> tuple[str, str]:
    made = settled(SearchOptions.of(**options, given=frozenset(options)), own=own)
    return made.evolution.algorithm, made.fitness.fitness


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, TUNED),
        ({"algorithm": "auto", "fitness": "auto"}, TUNED),
        ({"fitness": "divergence"}, TUNED),
        ({"max_flops": 0.5, "min_accuracy": 0.8}, TUNED),
        ({"algorithm": "tuned"}, TUNED),
        ({"algorithm": "tuned", "genes": "both"}, TUNED),
        ({"algorithm": "cma"}, ("cma", "divergence")),
        ({"algorithm": "cma", "fitness": "loss"}, ("cma", "loss")),
        ({"algorithm": "nsga2"}, ("nsga2", "accuracy")),
        ({"algorithm": "random"}, ("random", "accuracy")),
        ({"fitness": "accuracy"}, USUAL),
        ({"fitness": "loss"}, ("auto", "loss")),
        ({"objectives": ("accuracy", "flops")}, USUAL),  # who names accuracy means it
        ({"objectives": ("accuracy", "flops"), "algorithm": "tuned"}, ("tuned", "accuracy")),
        ({"objectives": ("accuracy", "flops", "params")}, USUAL),
        ({"racing": 0.9}, USUAL),  # which is of right and wrong answers
        ({"genes": "both"}, USUAL),
        ({"genes": "connections", "fitness": "divergence"}, ("auto", "divergence")),
    ],
)
def test_what_is_left_open_depends_on_the_rest(options: dict[str, Any], wanted: tuple[str, str]) -> None:
    assert found(**options) == wanted


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 0),
        ({"polish": True}, 0.15),
        ({"polish": True, "polish_below": 0.3}, 0.3),
        ({"polish": True, "polish_below": 0.0}, 0),
        ({"polish": True, "fitness": "accuracy"}, 0),  # top-1 of few images tells less than polish changes
        ({"polish": True, "fitness": "accuracy", "polish_below": 0.1}, 0.1),
        ({"polish": True, "objectives": ("divergence", "flops")}, 0.15),
        ({"polish": True, "genes": "both", "fitness": "divergence"}, 0),  # masked kernels are not solved for
    ],
)
def test_small_candidates_are_polished_where_the_front_is(options: dict[str, Any], wanted: float) -> None:
    made = settled(SearchOptions.of(**options, given=frozenset(options)))
    made.check()
    assert made.space.polish_below == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"racing": None}, "racing must be 0.5 to 1, got None"),
        ({"algorithm": "rounds", "population": None}, "population must be a whole number"),
        ({"polish": True, "polish_below": "little"}, "polish-below must be 0 to 1, got .little"),
        ({"objectives": None}, "objectives must be"),
    ],
)
def test_values_of_another_kind_are_named_before_anything_depends_on_them(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        settled(SearchOptions.of(**options, given=frozenset(options)))


def test_candidates_alone_are_not_polished() -> None:
    asked = SearchOptions.of(polish_below=0.2, given=frozenset({"polish_below"}))
    with pytest.raises(OptionError, match=r"^polish-below says which candidates are polished: add --polish"):
        settled(asked).check()


@pytest.mark.parametrize("options", [{}, {"fitness": "auto"}])
def test_a_task_or_objectives_of_ones_own_are_searched_as_before(options: dict[str, Any]) -> None:
    assert found(own=True, **options) == USUAL


@pytest.mark.parametrize(
    ("fitness", "wanted"), [({}, "loss"), ({"fitness": "auto"}, "loss"), ({"fitness": "divergence"}, "divergence")]
)
def test_rounds_select_by_what_is_named(fitness: dict[str, str], wanted: str) -> None:
    options = {"algorithm": "rounds", **fitness}
    assert settled(SearchOptions.of(**options, given=frozenset(options))).fitness.objectives == (wanted,)


@pytest.mark.parametrize(
    ("recorded", "typed"),
    [
        ({"algorithm": "tuned", "fitness": "divergence"}, {}),
        ({"algorithm": "tuned", "fitness": "divergence"}, {"algorithm": "auto", "fitness": "auto"}),
        ({"algorithm": "tuned", "fitness": "divergence"}, {"algorithm": "tuned", "fitness": "divergence"}),
        ({"algorithm": "auto", "fitness": "accuracy"}, {}),  # of a version before
        ({"algorithm": "auto", "fitness": "accuracy"}, {"algorithm": "nsga2", "fitness": "auto"}),
        ({"algorithm": "auto"}, {}),  # of one that knew no fitness
    ],
)
def test_a_run_goes_on_as_it_began(recorded: dict[str, str], typed: dict[str, str]) -> None:
    kept = options_record(SearchOptions()) | recorded
    if "fitness" not in recorded:
        del kept["fitness"]
    identity = {"threads": 1, "device": "cpu", "round_to": 1, "precision": "float32"}
    manifest = {"options": kept, "identity": identity, "data": {"name": "digits"}}
    asked = SearchOptions.of(resume=Path("run"), **typed, given=frozenset(typed))
    made = resumed_options(asked, manifest)
    assert made.evolution.algorithm == recorded["algorithm"]
    assert made.fitness.fitness == recorded.get("fitness", "accuracy")


def resumed(recorded: dict[str, Any], **typed: Any) -> SearchOptions:
    kept = options_record(SearchOptions()) | recorded
    identity = {"threads": 1, "device": "cpu", "round_to": 1, "precision": "float32"}
    manifest = {"options": kept, "identity": identity, "data": {"name": "digits"}}
    return resumed_options(SearchOptions.of(resume=Path("run"), **typed, given=frozenset(typed)), manifest)


def test_what_is_judged_polished_stays_so_whatever_becomes_of_the_front() -> None:
    begun = {"polish": True, "polish_below": 0.15}
    assert resumed(begun, polish=False).space.polish_below == 0.15
    assert resumed(begun, polish_below=None).space.polish_below == 0.15  # auto, which is what the run has made of it
    assert resumed({"polish_below": 0.0}, polish=True).space.polish_below == 0
    with pytest.raises(OptionError, match="cannot change on resume: polish_below"):
        resumed(begun, polish_below=0.3)
