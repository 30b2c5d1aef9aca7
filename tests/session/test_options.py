from __future__ import annotations

from pathlib import Path

import pytest

from gaprune.errors import OptionError, RunError
from gaprune.options import SearchOptions, record, resumed_options
from gaprune.options.cli import parse

RUN = Path("runs/some")


SETTLED = {"threads": 2, "device": "cpu", "round_to": 1, "precision": "float32"}


def manifest(**changes: object) -> dict[str, object]:
    return {"options": {**record(SearchOptions()), **changes}, "identity": SETTLED}


def typed(**options: object) -> SearchOptions:
    return SearchOptions.of(resume=RUN, given=frozenset(options), **options)  # type: ignore[arg-type]


def test_a_resumed_run_keeps_its_options_and_takes_more_generations() -> None:
    options = resumed_options(typed(generations=20), manifest(population=8, model="resnet18"))
    assert (options.population, options.model, options.generations) == (8, "resnet18", 20)
    assert options.resume == RUN


def test_an_option_given_as_it_was_is_no_difference() -> None:
    options = resumed_options(typed(population=8, threads=2), manifest(population=8))
    assert (options.population, options.threads, options.device) == (8, 2, "cpu")


def test_an_option_typed_at_its_default_counts() -> None:
    default = SearchOptions()
    options = resumed_options(typed(generations=default.generations, pick="knee"), manifest(generations=3, pick="x"))
    assert (options.generations, options.pick) == (default.generations, "knee")
    with pytest.raises(OptionError, match=f"population: 8 -> {default.population}"):
        resumed_options(typed(population=default.population), manifest(population=8))


def test_a_run_from_before_there_was_a_choice_goes_on_with_plain_recalibration() -> None:
    made = manifest()
    assert resumed_options(typed(), made).recalibration == "anchored"
    del made["options"]["recalibration"]  # type: ignore[attr-defined]
    assert resumed_options(typed(), made).recalibration == "plain"
    with pytest.raises(OptionError, match="recalibration: plain -> anchored"):
        resumed_options(typed(recalibration="anchored"), made)


def test_auto_stays_the_data_that_it_was() -> None:
    made = {**manifest(), "data": {"name": "digits"}}
    assert resumed_options(typed(), made).data == "digits"
    assert resumed_options(typed(data="auto"), made).data == "digits"
    assert resumed_options(typed(data="digits"), made).data == "digits"
    with pytest.raises(OptionError, match="data: digits -> cifar10"):
        resumed_options(typed(data="cifar10"), made)


@pytest.mark.parametrize(
    "made",
    [
        {**manifest(data_dir="photos"), "data": {"name": "cifar10"}},
        {**manifest(), "data": {"name": "digits"}, "objects": {"data": True}},
        {**manifest(), "data": {"name": "photos"}},
    ],
)
def test_a_folder_or_an_object_is_no_named_data(made: dict[str, object]) -> None:
    assert resumed_options(typed(), made).data == "auto"


def test_where_candidates_are_evaluated_is_still_known_as_typed() -> None:
    assert resumed_options(typed(workers=4, generations=9), manifest()).given == {"workers"}


def test_an_algorithm_by_its_own_name_is_no_other_than_auto() -> None:
    assert resumed_options(typed(algorithm="nsga2"), manifest()).algorithm == "auto"
    assert resumed_options(typed(algorithm="auto"), manifest(algorithm="nsga2")).algorithm == "nsga2"
    three = {**manifest(), "objectives": ["accuracy", "flops", "params"]}
    assert resumed_options(typed(algorithm="nsga3"), three).algorithm == "auto"
    with pytest.raises(OptionError, match="algorithm: auto -> nsga2"):
        resumed_options(typed(algorithm="nsga2"), three)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 3), ("genes", "both"), ("objectives", ("loss", "flops")), ("threads", 1), ("output", Path("x"))],
)
def test_an_option_that_decides_results_may_not_change(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"cannot change on resume: {name}"):
        resumed_options(typed(**{name: value}), manifest())


def test_a_manifest_without_options_is_refused() -> None:
    with pytest.raises(RunError, match="has no options"):
        resumed_options(SearchOptions.of(resume=RUN), {})


def test_every_option_can_be_typed() -> None:
    options = parse(
        SearchOptions, ["--objectives", "loss,params,size", "--compensation", "none", "--round-to", "8"], "search"
    )
    assert options.objectives == ("loss", "params", "size")
    assert (options.compensation, options.round_to) == ("none", 8)
    assert options.given == {"objectives", "compensation", "round_to"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SearchOptions.of(population=3), "population must be at least 4, got 3"),
        (SearchOptions.of(search_size=0), "search-size must be at least 1, got 0"),
        (SearchOptions.of(seed=-1), "seed must be at least 0, got -1"),
        (SearchOptions.of(epoch_images=0), "epoch-images must be at least 2, got 0"),
        (
            SearchOptions.of(epoch_images=9, given=frozenset({"epoch_images"})),
            "epoch-images says nothing where nothing is trained: add round-epochs or iterations",
        ),
    ],
)
def test_values_out_of_range_are_named_with_the_rule(options: SearchOptions, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        options.check()
