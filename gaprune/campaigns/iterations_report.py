"""What each iteration of search and recovery gained: a line, and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gaprune.campaigns.iteration_result import Figures
from gaprune.progress import duration
from gaprune.runs import FLOPS_NOTE
from gaprune.runs.files import atomic_write
from gaprune.runs.tables import cell, markdown
from gaprune.session.job import Job
from gaprune.session.loop import FLOPS_LEVELS

TABLE = "iterations.csv"
READABLE = "iterations.md"


@dataclass(frozen=True)
class IterationRow:
    """The front over all iterations so far.

    Attributes:
        number: of the last one, from 1.
        start: what it searched; ``None`` for the original.
        evaluations: of that iteration alone.
        seconds: time that they took.
        members: of the front.
        own_members: those that this iteration found.
        hypervolume: of the front on the search images, to the objectives' reference values.
        gain: of that over the iteration before; ``None`` for the first.
        best: by share of the original's FLOPs, top-1 on the search and on the test images of the member within it that
            is best on the search images.
    """

    number: int
    start: Figures | None
    evaluations: int
    seconds: float
    members: int
    own_members: int
    hypervolume: float
    gain: float | None
    best: dict[float, tuple[float, float | None]]

    def line(self, iterations: int) -> str:
        """For the log."""
        text = f"iteration {self.number} of {iterations}: hypervolume {self.hypervolume:.4f}"
        if self.start is not None:
            start = self.start
            text += (
                f" ({self.gain:+.4f}), started from {start.flops_share:.1%} of the FLOPs, which training in "
                f"{duration(start.seconds)} took from {start.before[0]:.4f} to {start.after[0]:.4f}"
            )
        parts = [f"{found[0]:.4f} at {level:.0%} of the FLOPs" for level, found in self.best.items()]
        return f"{text}; accuracy on the search images {', '.join(parts)}" if parts else text

    def cells(self) -> list[float | None]:
        """Of the table, as ``COLUMNS`` names them."""
        start = self.start
        first: list[float | None] = [None] * 7
        if start is not None:
            first = [start.flops_share, start.before[0], start.after[0], start.before[1], start.after[1]]
            first += [start.epochs, start.seconds]
        rest = [self.evaluations, self.seconds, self.members, self.own_members, self.hypervolume, self.gain]
        levels = [value for level in FLOPS_LEVELS for value in self.best.get(level, (None, None))]
        return [self.number, *first, *rest, *levels]


COLUMNS = (
    "iteration",
    "start_flops_share",
    "start_search_accuracy_before_training",
    "start_search_accuracy",
    "start_test_accuracy_before_training",
    "start_test_accuracy",
    "training_epochs",
    "training_seconds",
    "evaluations",
    "evaluation_seconds",
    "front_members",
    "members_of_this_iteration",
    "hypervolume",
    "hypervolume_gain",
    *(f"{part}_accuracy_at_{level:.0%}_flops" for level in FLOPS_LEVELS for part in ("search", "test")),
)


def write_tables(job: Job, path: Path, rows: Sequence[IterationRow]) -> None:
    """Write ``iterations.csv`` and ``iterations.md``, a line an iteration.

    Raises:
        OSError: they cannot be written; old ones stay.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if value is None else value for value in row.cells()] for row in rows)
    atomic_write(path / TABLE, text.getvalue().encode())
    atomic_write(path / READABLE, _readable(job, rows).encode())


def _readable(job: Job, rows: Sequence[IterationRow]) -> str:
    """The table on its side: a column an iteration."""
    columns = [row.cells() for row in rows]
    lines = [["iteration", *(str(row.number) for row in rows)], ["---", *["---:"] * len(rows)]]
    for name, *values in zip(COLUMNS[1:], *(cells[1:] for cells in columns), strict=True):
        lines.append([name.replace("_", " "), *(cell(value) for value in values)])
    return f"""# {job.model_name} on {job.data.name}, iteration by iteration

The first iteration prunes the original. Each later one prunes a member that the iteration before found and training
recovered. The front is that over all iterations so far; shares are of the original. {FLOPS_NOTE}

{markdown(lines)}
"""
