"""Search algorithms by name."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Final, Protocol

from gaprune.errors import choice_error
from gaprune.evolve.algorithm import Algorithm
from gaprune.evolve.initial import Initial, informed
from gaprune.evolve.nsga2 import NSGA2
from gaprune.evolve.nsga3 import nsga3
from gaprune.evolve.random_search import RandomSearch
from gaprune.evolve.rounds import Rounds
from gaprune.prune.genome import Space

AUTO = "auto"


class _Maker(Protocol):
    def __call__(self, space: Space, *, objectives: int, population: int, seed: int, initial: Initial) -> Algorithm: ...


def _rounds(space: Space, *, objectives: int, population: int, seed: int, initial: Initial) -> Algorithm:
    """One round with the paper's numbers; what goes is its share's business, so ``initial`` says nothing."""
    return Rounds(space, objectives=objectives, population=population, seed=seed)


_MAKERS: Final = MappingProxyType[str, _Maker](
    {"nsga2": NSGA2, "nsga3": nsga3, "random": RandomSearch, "rounds": _rounds}
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
    initial, make = partial(informed, largest=largest), _MAKERS[settled_name(name, objectives)]
    return make(space, objectives=objectives, population=population, seed=seed, initial=initial)
