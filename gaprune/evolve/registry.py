"""Search algorithms by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Protocol

from gaprune.errors import choice_error
from gaprune.evolve.algorithm import Algorithm
from gaprune.evolve.nsga2 import NSGA2
from gaprune.evolve.random_search import RandomSearch
from gaprune.prune.genome import Space


class _Maker(Protocol):
    def __call__(self, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm: ...


_MAKERS: Final = MappingProxyType[str, _Maker]({"nsga2": NSGA2, "random": RandomSearch})


def algorithm_names() -> tuple[str, ...]:
    """The names that ``make_algorithm`` knows."""
    return tuple(_MAKERS)


def make_algorithm(name: str, space: Space, *, objectives: int, population: int, seed: int) -> Algorithm:
    """A fresh search algorithm.

    Args:
        name: one of ``algorithm_names()``.
        space: what to search.
        objectives: number of objectives, all minimised.
        population: genomes a generation, at least 4.
        seed: of the search's one generator, at least 0.

    Raises:
        OptionError: the name is unknown, or a number is out of range.
    """
    if name not in _MAKERS:
        raise choice_error("algorithm", name, algorithm_names())
    return _MAKERS[name](space, objectives=objectives, population=population, seed=seed)
