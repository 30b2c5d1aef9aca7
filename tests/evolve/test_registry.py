from __future__ import annotations

import pytest

from gaprune.errors import OptionError
from gaprune.evolve import algorithm_names, make_algorithm
from gaprune.testing import ToyNetwork

SPACE = ToyNetwork.make((3, 4, 5))


def test_the_names_are_listed():
    assert algorithm_names() == ("auto", "nsga2", "nsga3", "cma", "tuned", "random", "rounds")


@pytest.mark.parametrize("name", algorithm_names())
def test_each_name_makes_an_algorithm(name):
    assert len(make_algorithm(name, SPACE, objectives=2, population=5, seed=0).ask()) == 5


def test_an_unknown_name_is_answered_with_the_valid_ones():
    with pytest.raises(
        OptionError, match="unknown algorithm 'nsga4': choose one of auto, nsga2, nsga3, cma, tuned, random, rounds"
    ):
        make_algorithm("nsga4", SPACE, objectives=2, population=5, seed=0)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"population": 3}, "population must be at least 4, got 3"),
        ({"objectives": 0}, "objectives must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
@pytest.mark.parametrize("name", algorithm_names())
def test_numbers_out_of_range_are_named(name, option, message):
    options = {"objectives": 2, "population": 5, "seed": 0} | option
    with pytest.raises(OptionError, match=message):
        make_algorithm(name, SPACE, **options)


@pytest.mark.parametrize(("objectives", "name"), [(1, "nsga2"), (2, "nsga2"), (3, "nsga3"), (5, "nsga3")])
def test_auto_is_nsga3_from_three_objectives_on(objectives, name):
    made = make_algorithm("auto", SPACE, objectives=objectives, population=5, seed=0)
    assert made.state().meta["algorithm"] == name


@pytest.mark.parametrize("name", sorted({*algorithm_names()} - {"rounds"}))
def test_the_first_generation_costs_no_more_than_is_of_use(name):
    space = ToyNetwork.make((8, 60, 60, 60))
    genomes = make_algorithm(name, space, objectives=2, population=12, seed=0, largest=0.3).ask()
    costs = [space.cost(space.layout.unpack(genome)) for genome in genomes]
    assert max(costs) <= 0.3
    assert max(costs) > 0.28
