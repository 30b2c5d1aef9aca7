"""Options in groups: flat names outside, bounds and words checked in one place."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from gaprune.errors import OptionError
from gaprune.evaluate import objective_names
from gaprune.evolve import algorithm_names
from gaprune.models import model_names
from gaprune.options import (
    CompareOptions,
    FinetuneOptions,
    SearchOptions,
    TrainOptions,
    choices,
    record,
    resumed_options,
)
from gaprune.options.cli import parse
from gaprune.options.fields import Options, check_fields, entries, group, option, options_from_record, options_record
from gaprune.options.limits import HOTTEST
from gaprune.prune.compensate.compensation import FORMS
from gaprune.prune.rank.registry import importance_names
from gaprune.text.options import TextOptions

RECORDS = json.loads((Path(__file__).parent / "version_0_1_records.json").read_text())
"""What the first version wrote in manifests, whose options stood in no groups: the defaults of every command."""

COMMANDS: dict[str, type[Any]] = {
    "search": SearchOptions,
    "finetune": FinetuneOptions,
    "train": TrainOptions,
    "compare": CompareOptions,
    "text": TextOptions,
}


@dataclass(frozen=True)
class Wheels:
    count: int = option(4, "how many", least=1, most=8)
    kind: Literal["round", "square"] = option("round", "their form")
    wear: float = option(0.0, "share that is gone", least=0, most=1)
    pressure: float | None = option(None, "bar", above=0)
    sizes: tuple[float, ...] = option((0.5,), "each", least=0, most=1)
    spare: bool = option(False, "one more")


@dataclass(frozen=True)
class Car(Options):
    """A car."""

    name: str = option("car", "what it is called")
    wheels: Wheels = group(Wheels, "wheels")
    given: frozenset[str] = field(default=frozenset(), compare=False)


def test_a_flat_name_leads_into_its_group() -> None:
    car = Car.of(count=3, name="trike", given=frozenset({"count"}))
    assert car == Car("trike", Wheels(count=3), car.given)
    assert (car.wheels.count, getattr(car, "count"), car.given) == (3, 3, {"count"})  # noqa: B009 - as records do
    assert car.but(kind="square").wheels == Wheels(count=3, kind="square")
    assert car.but(wheels=Wheels()).wheels == Wheels()
    for copied in (copy.deepcopy(car), pickle.loads(pickle.dumps(car))):
        assert copied == car


@pytest.mark.parametrize("make", [Car.of, Car().but])
def test_what_is_no_option_is_no_argument(make: Any) -> None:
    with pytest.raises(TypeError, match="wings"):
        make(wings=2)


def test_what_is_no_option_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="Car has no option 'wings'"):
        _ = Car().wings  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 9}, "count must be at most 8, got 9"),
        ({"count": 1.5}, "count must be a whole number, got 1.5"),
        ({"count": True}, "count must be a whole number, got True"),
        ({"count": None}, "count must be a whole number, got None"),
        ({"kind": "flat"}, "unknown kind 'flat': choose one of round, square"),
        ({"wear": 1.5}, "wear must be 0 to 1, got 1.5"),
        ({"wear": "half"}, "wear must be 0 to 1, got 'half'"),
        ({"wear": float("nan")}, "wear must be 0 to 1, got nan"),
        ({"pressure": 0}, "pressure must be above 0, got 0"),
        ({"pressure": float("inf")}, "pressure must be above 0, got inf"),
        ({"sizes": ()}, "sizes must be one number or more, got ()"),
        ({"sizes": (0.5, 2.0)}, "sizes must be 0 to 1, got 2.0"),
        ({"spare": "yes"}, "spare must be True or False, got 'yes'"),
    ],
)
def test_every_bound_and_word_is_checked_in_one_place(value: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_fields(Car.of(**value))
    assert str(caught.value) == message
    check_fields(Car())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_sound_defaults_and_every_number_its_bounds(name: str) -> None:
    command = COMMANDS[name]
    made = command(run=Path("runs/a")) if name == "finetune" else command()
    made.check()
    assert [one.name for one in entries(command).values() if one.group is None and not one.place] == []
    unbounded = [one.name for one in entries(command).values() if one.kind is int and one.bound("least") is None]
    assert unbounded == []


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_the_first_version_is_read_and_would_be_written_as_it_was(name: str) -> None:
    made = options_from_record(COMMANDS[name], RECORDS[name])
    written = {key: value for key, value in options_record(made).items() if key in RECORDS[name]}
    assert written == RECORDS[name]
    defaults = COMMANDS[name](run=Path("runs/a")) if name == "finetune" else COMMANDS[name]()
    assert made == defaults


def test_a_run_of_the_first_version_goes_on() -> None:
    settled = {"threads": 2, "device": "cpu", "round_to": 1, "precision": "float32"}
    manifest = {"options": {**RECORDS["search"], "population": 8}, "identity": settled, "data": {"name": "digits"}}
    options = resumed_options(SearchOptions.of(resume=Path("runs/a"), generations=20, given={"generations"}), manifest)
    assert (options.evolution.population, options.evolution.generations) == (8, 20)
    assert (options.images.data, options.machine.threads, options.run.resume) == ("digits", 2, Path("runs/a"))
    assert options.space.recalibration == "plain", "which was all that there was"
    assert record(options).keys() >= RECORDS["search"].keys() - {"resume"}


@pytest.mark.parametrize(
    ("light", "heavy"),
    [
        (choices.names(choices.Algorithm), algorithm_names()),
        (choices.names(choices.Importance), importance_names()),
        (choices.names(choices.Compensation), (*FORMS, "none")),
        (choices.OBJECTIVES, tuple(objective_names())),
        (choices.MODELS, model_names()),
    ],
)
def test_the_names_that_help_knows_are_those_that_there_are(light: tuple[str, ...], heavy: tuple[str, ...]) -> None:
    assert light == heavy


def test_a_number_of_many_digits_is_one_line() -> None:
    options = parse(SearchOptions, ["--seed", "9" * 400], "prog")
    with pytest.raises(OptionError, match=r"^seed must be at most 4294967295, got 9{400}$"):
        options.check()


def test_the_highest_temperature_stands_in_the_help() -> None:
    assert f"at most {HOTTEST:g}" in entries(FinetuneOptions)["temperature"].help
