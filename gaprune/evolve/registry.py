"""Search algorithms by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from gaprune.errors import choice_error
from gaprune.evolve.algorithm import Algorithm
from gaprune.evolve.cma import CMA
from gaprune.evolve.initial import informed
from gaprune.evolve.nsga2 import NSGA2
from gaprune.evolve.nsga3 import nsga3
from gaprune.evolve.random_search import RandomSearch
from gaprune.evolve.rounds import Rounds
from gaprune.evolve.tuned import Tuned
from gaprune.genome import Space

AUTO = "auto"


class _Maker(Protocol):
    def __call__(self, space: Space, *, objectives: int, population: int, seed: int, largest: float) -> Algorithm: ...


def _informed(make: Callable[..., Algorithm]) -> _Maker:
    """An algorithm that begins with informed genomes of no higher cost than is of use."""

    def made(space: Space, *, objectives: int, population: int, seed: int, largest: float) -> Algorithm:
        initial = partial(informed, largest=largest)
        return make(space, objectives=objectives, population=population, seed=seed, initial=initial)

    return made


def _rounds(space: Space, *, objectives: int, population: int, seed: int, largest: float) -> Algorithm:
    """One round with the paper's numbers; what goes is its share's business, so ``largest`` says nothing."""
    return Rounds(space, objectives=objectives, population=population, seed=seed)


_MAKERS: Final = MappingProxyType[str, _Maker](
    {
        "nsga2": _informed(NSGA2),
        "nsga3": _informed(nsga3),
        "cma": CMA,
        "tuned": Tuned,
        "random": _informed(RandomSearch),
        "rounds": _rounds,
    }
)


def algorithm_names() -> tuple[str, ...]:
    """The names that ``make_algorithm`` knows."""
    return (AUTO, *_MAKERS)


def settled_name(name: str, objectives: int) -> str:
    """The algorithm that a name stands for: ``auto`` is ``nsga2`` for two objectives, ``nsga3`` for three and more."""
    if name == AUTO:
        return "nsga2" if objectives < 3 else "nsga3"
    return name


def make_algorithm(
    name: str, space: Space, *, objectives: int, population: int, seed: int, largest: float = 1.0
) -> Algorithm:
    """A fresh search algorithm.

    Args:
        name: one of ``algorithm_names()``.
        space: what to search.
        objectives: number of objectives, all minimised.
        population: genomes a generation, at least 4.
        seed: of the search's one generator, at least 0.
        largest: the highest cost that the first generation should have, as a share of the whole network's.

    Raises:
        OptionError: the name is unknown, or a number is out of range.
    """
    if name not in algorithm_names():
        raise choice_error("algorithm", name, algorithm_names())
    make = _MAKERS[settled_name(name, objectives)]
    return make(space, objectives=objectives, population=population, seed=seed, largest=largest)
