"""The importance functions by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from gaprune.errors import choice_error
from gaprune.prune.graph import Graph
from gaprune.prune.importance import Importance, bn, l2, random
from gaprune.prune.removal import obs
from gaprune.prune.statistics import Statistics

ImportanceFunction = Callable[[nn.Module, Graph, Statistics], Importance]


def importance_names() -> tuple[str, ...]:
    """The names that ``importance_function`` takes."""
    return tuple(_known())


def importance_function(name: str) -> ImportanceFunction:
    """The function of a name.

    Raises:
        OptionError: no such name; the message lists the valid ones.
    """
    if name not in _known():
        raise choice_error("importance", name, importance_names())
    return _known()[name]


def _known() -> dict[str, ImportanceFunction]:
    return {"obs": obs, "l2": l2, "bn": bn, "random": random}
