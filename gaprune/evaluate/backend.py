"""The seam between a search and where its candidates are evaluated, and the backend of this process."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence

from gaprune.device import pinned
from gaprune.evaluate.limit import TimeLimit
from gaprune.evaluate.outcome import Outcome
from gaprune.evaluate.racing import UNKNOWN, Floor
from gaprune.genome import Genome


class Backend(abc.ABC):
    """Carries genomes out and outcomes back; knows neither networks nor evolution.

    Attributes:
        limit: how long a candidate may take, where that is bounded; who uses the backend tells it of outcomes.
        one_by_one: whether a candidate is begun when the one before is done.
    """

    limit: TimeLimit | None = None
    one_by_one: bool = False

    def start(self, candidates: int) -> None:
        """Make ready for so many candidates at a time, so that what cannot work is told before a run begins.

        Raises:
            BackendError: one line that says what is missing.
        """
        return

    @abc.abstractmethod
    def evaluate(
        self, genomes: Sequence[Genome], floors: Sequence[Floor] | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield (index of the genome, its outcome) as they are done, in any order, each index once.

        Args:
            genomes: what to evaluate.
            floors: for each genome what is known of it, so that it need not be measured to the end; ``None``
                measures all of them to the end.
        """

    def figures(self) -> dict[str, str]:
        """What progress shows of the backend; nothing unless there is something to say."""
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what the backend holds. Harmless when done twice."""


class LocalBackend(Backend):
    """One candidate after the other in this process.

    Args:
        evaluate: genome and what is known of it before, to outcome.
        threads: torch threads during an evaluation, pinned because results depend on them in the last digits.
        limit: how long a candidate may take, for who watches this process; nothing here ends one.
    """

    one_by_one = True

    def __init__(
        self, evaluate: Callable[[Genome, Floor], Outcome], *, threads: int, limit: TimeLimit | None = None
    ) -> None:
        self._evaluate = evaluate
        self._threads = threads
        self.limit = limit

    def evaluate(
        self, genomes: Sequence[Genome], floors: Sequence[Floor] | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcomes in the order of the genomes."""
        for index, genome in enumerate(genomes):
            with pinned(self._threads):
                outcome = self._evaluate(genome, UNKNOWN if floors is None else floors[index])
            yield index, outcome

    def close(self) -> None:
        """Nothing to give back."""
