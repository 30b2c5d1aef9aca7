"""The importance functions by name."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from gaprune.errors import choice_error
from gaprune.progress import SILENT, Reporter
from gaprune.prune.compensate.statistics import Statistics
from gaprune.prune.graph.graph import Graph
from gaprune.prune.rank.importance import Importance, bn, l2, random, taylor
from gaprune.prune.rank.removal import obs


class ImportanceFunction(Protocol):
    """Scores of all genes."""

    def __call__(
        self,
        model: nn.Module,
        graph: Graph,
        statistics: Statistics,
        *,
        kernels: bool = False,
        reporter: Reporter = SILENT,
    ) -> Importance:
        """Worth of neurons and kernels.

        Args:
            model: the original network.
            graph: its pruning graph.
            statistics: of its consumers' inputs.
            kernels: whether kernels are genes one by one, so that informed scores of them are worth their time;
                otherwise, and from functions that know no better, kernels get their L2 norms.
            reporter: told how far it is, by functions that take their time.
        """
        ...


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
    return {"obs": obs, "l2": l2, "bn": bn, "taylor": taylor, "random": random}
