"""What sets one kind of campaign apart from another: which network each search prunes, how, and what it leaves."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gaprune.campaigns.hand_out import PartNetwork
from gaprune.campaigns.part import Start
from gaprune.evolve import Algorithm
from gaprune.genome import Genome
from gaprune.options import SearchOptions
from gaprune.progress import Reporter
from gaprune.runs import FrontRow, RunDirectory
from gaprune.session import NAME as STATISTICS
from gaprune.session import Found, Job

P = TypeVar("P")
"""What the manifest of a finished part of a run says of it."""


@dataclass(frozen=True)
class Searched:
    """A part of a run whose search is over and whose front is saved.

    Attributes:
        number: from 1.
        job: of this search.
        directory: its own.
        found: by the search.
        rows: of its front.
        genomes: for each row, what the member has left of the true original.
    """

    number: int
    job: Job
    directory: RunDirectory
    found: Found
    rows: list[FrontRow]
    genomes: tuple[Genome, ...]

    @property
    def seconds(self) -> float:
        """Time that the evaluations took."""
        return round(sum(outcome.seconds for outcome in self.found.evaluated.values()), 3)


class Policy(abc.ABC, Generic[P]):
    """How searches follow each other. ``run_campaign`` asks for each part of a run, in this order:

    ``read`` (a finished part is not searched again), ``choose_start``, ``announce``, ``options``, ``algorithm``,
    ``finish``, ``tidy``, ``report``; and for ``networks`` when all parts are done.

    Args:
        job: of the true original.
        run: the whole run's directory, where the parts' own directories lie.
        reporter: told what happens.

    Attributes:
        kind: one word: it begins the names of the parts' directories and marks their manifests.
    """

    kind: str

    def __init__(self, job: Job, run: RunDirectory, reporter: Reporter) -> None:
        self.job = job
        self.run = run
        self.reporter = reporter

    def path(self, number: int) -> Path:
        """The directory of a part."""
        return self.run.path / f"{self.kind}-{number}"

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """How many parts are wanted."""

    @abc.abstractmethod
    def read(self, number: int) -> P | None:
        """A part as its manifest has it; ``None`` where it is not finished or not there.

        Raises:
            RunError: the manifest is damaged.
        """

    @abc.abstractmethod
    def choose_start(self, done: Sequence[P]) -> Start | None:
        """The network that the next part prunes, trained first if that is wanted; ``None`` where the campaign ends.

        Args:
            done: the parts so far, one at least; the first of all prunes the original.
        """

    def announce(self, number: int) -> None:
        """Say what a part is going to do, before anything that takes time."""
        return

    @abc.abstractmethod
    def options(self, number: int) -> SearchOptions:
        """The options of a part's search."""

    def algorithm(self, job: Job, number: int) -> Algorithm | None:
        """What searches; ``None`` for what the options name."""
        return None

    @abc.abstractmethod
    def finish(self, searched: Searched) -> P:
        """What the manifest of a part will say, after whatever follows its search."""

    def tidy(self, number: int) -> None:
        """Remove what a finished part needs no more."""
        (self.path(number) / STATISTICS).unlink(missing_ok=True)

    @abc.abstractmethod
    def report(self, done: Sequence[P]) -> str:
        """Write the tables over all parts so far; what to say of the last one.

        Raises:
            OSError: they cannot be written; old ones stay.
        """

    @abc.abstractmethod
    def networks(self, done: Sequence[P]) -> list[PartNetwork]:
        """What the run hands out, in the order of its front: fewest FLOPs first."""
