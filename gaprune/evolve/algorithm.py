"""The seam of every search algorithm: ask for genomes, tell their objectives."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaprune.genome import Floats, Genome


@dataclass(frozen=True)
class AlgorithmState:
    """Everything that an algorithm needs to go on from a whole generation.

    Attributes:
        arrays: numbers and packed genomes, saved as safetensors.
        meta: small JSON values (generation, random state, counters).
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


class Algorithm(abc.ABC):
    """A multi-objective search over genomes, one generation at a time.

    The life of a search: ``ask`` gives the genomes of the next generation; the caller evaluates them, in any
    order and anywhere, and hands back their objectives with ``tell``, in the order asked. ``state`` taken
    after a ``tell`` and given to ``restore`` of a fresh algorithm with the same space and options continues
    exactly as if nothing had happened: the same genomes are asked for, bit for bit.

    All randomness comes from one ``numpy.random.Generator``; Python's and NumPy's global states are left
    alone.
    """

    @property
    @abc.abstractmethod
    def generation(self) -> int:
        """Number of generations told so far; 0 before the first ``tell``."""

    @abc.abstractmethod
    def ask(self) -> list[Genome]:
        """The genomes of the next generation, repaired. The same list until ``tell`` is called."""

    @abc.abstractmethod
    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """Take the objectives of the genomes asked for, and by how much they do not keep to the constraints.

        Deb's rule decides between two: the smaller violation first, Pareto dominance where violations are equal.

        Args:
            genomes: those that ``ask`` gave, in that order.
            Y: (n, m) array, minimised. A failed candidate is a row of ``inf``, dominated by all others.
            violation: (n,) array, 0 for genomes that keep to all constraints; ``None`` where there are none.
            expected: (n, m) array, what ``Y`` would probably be where it holds bounds of what was not measured to the
                end, NaN where nobody knows; only for learning what genomes are worth. ``None``: the same as ``Y``.

        Raises:
            ValueError: wrong genomes or shape, or a NaN, which must never reach non-dominated sorting.
        """

    @abc.abstractmethod
    def front(self) -> tuple[list[Genome], Floats]:
        """All non-dominated genomes told so far (not only the living), and their (k, m) objectives.

        Only such as keep to the constraints; while there is none, those of the least violation.
        Sorted by the first objective, then the second; of genomes with equal objectives the first told stays.
        Failed candidates are never on it.
        """

    def rungs(self) -> list[Genome]:
        """What the search stands on: its first generation and, where it tunes a ladder, that ladder's rungs.

        They were told before anything was chosen by what was told, or lie on a ladder that all of it has formed. Who
        hands out a front may ask a member to be surely better than these.
        """
        return []

    @abc.abstractmethod
    def state(self) -> AlgorithmState:
        """A snapshot after a whole generation."""

    @abc.abstractmethod
    def restore(self, state: AlgorithmState) -> None:
        """Continue from a snapshot. Raises ``ValueError`` when it does not fit the space."""


def failed_row(objectives: int) -> Floats:
    """The (m,) objectives of a candidate that has failed."""
    return np.full(objectives, np.inf)
