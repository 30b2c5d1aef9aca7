"""What manifests say of the parts of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from gaprune.errors import RunError
from gaprune.genome import Genome
from gaprune.runs import MANIFEST_NAME, inside, read_manifest

RESULT, START = "result", "next_start"
"""Entries of a part's manifest: what it has found, and what the part after it starts from."""

Record = TypeVar("Record")


@dataclass(frozen=True)
class Round:
    """A finished round: the network that it has left.

    Attributes:
        number: from 1.
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


@dataclass(frozen=True)
class NextStart:
    """The member of an iteration that was trained on for the next one to start from.

    Attributes:
        genome: what it has left of the true original.
        flops_share: of the original's FLOPs, 0 to 1.
        before: top-1 on the search and on the test images as the search left it.
        trained: the same after training.
        used: whether the trained network is what the next iteration starts from; if not, training had made it worse on
            the search images.
        epochs: of the training.
        seconds: time that it took.
    """

    genome: Genome
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


def to_record(value: Any) -> dict[str, Any]:
    """One of the dataclasses above as JSON values."""
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def read_record(path: Path, name: str, kind: type[Record]) -> Record | None:
    """What the manifest of a part holds under a name; ``None`` where it is not there yet.

    Args:
        path: of the part's directory, which need not exist.
        name: in the manifest.
        kind: one of the dataclasses above.

    Raises:
        RunError: the manifest is damaged.
    """
    if not (path / MANIFEST_NAME).exists():
        return None
    record = read_manifest(path).get(name)
    try:
        return None if record is None else kind(**{key: _READ.get(key, _as_it_is)(record[key]) for key in record})
    except (TypeError, KeyError, ValueError) as error:
        raise RunError(f"{path / MANIFEST_NAME} is damaged: {error!r}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Genome):
        return value.text
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _as_it_is(value: Any) -> Any:
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "genome": Genome.of_text,
    "place": inside,
    "genomes": lambda texts: tuple(Genome.of_text(text) for text in texts),
    "before": tuple,
    "trained": tuple,
}
"""Fields whose values JSON has no word for."""
