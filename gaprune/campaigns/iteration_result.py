"""What an iteration has found, and what training made of the member that the next one starts from, as manifests say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaprune.campaigns.part import read_record
from gaprune.prune.genome import Genome

PART = "iteration"
"""Of a manifest: that the directory is an iteration of a run, and which."""

RESULT, START = "result", "next_start"


@dataclass(frozen=True)
class Figures:
    """A member that was trained on for the next iteration to start from.

    Attributes:
        flops_share: of the original's FLOPs, 0 to 1.
        before: top-1 on the search and on the test images as the search left it.
        trained: the same after training.
        used: whether the trained network is what the next iteration starts from; if not, training had made it worse on
            the search images.
        epochs: of the training.
        seconds: time that it took.
    """

    flops_share: float
    before: tuple[float, float | None]
    trained: tuple[float, float | None]
    used: bool
    epochs: int
    seconds: float

    @property
    def after(self) -> tuple[float, float | None]:
        """Of the network that the next iteration starts from."""
        return self.trained if self.used else self.before


@dataclass(frozen=True)
class NextStart:
    """The network that the next iteration starts from.

    Attributes:
        genome: what it has left of the true original.
        figures: how good it is.
    """

    genome: Genome
    figures: Figures

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {"genome": self.genome.text, **asdict(self.figures)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> NextStart:
        """The start that ``record`` stands for.

        Raises:
            TypeError, KeyError, ValueError: it is no such record.
        """
        figures = {name: value for name, value in record.items() if name != "genome"}
        figures |= {name: tuple(figures[name]) for name in ("before", "trained")}
        return cls(Genome.of_text(record["genome"]), Figures(**figures))


@dataclass(frozen=True)
class Iteration:
    """A finished iteration.

    Attributes:
        number: from 1.
        genomes: by the index of the iteration's own front, what a member has left of the true original.
        evaluations: candidates that were evaluated.
        seconds: time that their evaluation took.
    """

    number: int
    genomes: tuple[Genome, ...]
    evaluations: int
    seconds: float

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "genomes": [genome.text for genome in self.genomes]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Iteration:
        """The iteration that ``record`` stands for.

        Raises:
            TypeError, KeyError, ValueError: it is no such record.
        """
        return cls(**{**record, "genomes": tuple(Genome.of_text(text) for text in record["genomes"])})


def read_iteration(path: Path) -> Iteration | None:
    """The iteration in a directory; ``None`` where it is not finished or not there.

    Raises:
        RunError: the manifest is damaged.
    """
    return read_record(path, RESULT, Iteration.from_record)


def read_start(path: Path) -> NextStart | None:
    """What the iteration in a directory has left for the next one; ``None`` where that is not made yet.

    Raises:
        RunError: the manifest is damaged.
    """
    return read_record(path, START, NextStart.from_record)
