"""What one finished round has found, as it stands in the round's manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaprune.campaigns.part import read_record
from gaprune.prune.genome import Genome

RESULT = "result"


@dataclass(frozen=True)
class RoundResult:
    """The network that a round has left.

    Attributes:
        number: of the round, from 1.
        genome: of the true original: all that this round and those before have removed.
        place: the network's folder, relative to the run directory.
        search_accuracy: on the search set, 0 to 1.
        test_accuracy: on the test set, 0 to 1.
        objectives: by name, plain values.
        share: of the genes that went in this round.
        evaluations: candidates that were evaluated.
        seconds: time that their evaluation took.
        epochs: of training after the search.
        training_seconds: time that it took.
        wall_seconds: time of the whole search up to its network, over all sessions; ``None`` where none was kept.
    """

    number: int
    genome: Genome
    place: str
    search_accuracy: float
    test_accuracy: float | None
    objectives: dict[str, float]
    share: float
    evaluations: int
    seconds: float
    epochs: int = 0
    training_seconds: float = 0.0
    wall_seconds: float | None = None

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "genome": self.genome.text}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> RoundResult:
        """The result that ``record`` stands for.

        Raises:
            TypeError, KeyError, ValueError: it is no such record.
        """
        return cls(**{**record, "genome": Genome.of_text(record["genome"])})


def read_result(path: Path) -> RoundResult | None:
    """The result of the round in a directory; ``None`` where it is not finished or not there.

    Raises:
        RunError: the manifest is damaged.
    """
    return read_record(path, RESULT, RoundResult.from_record)
