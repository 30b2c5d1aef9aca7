"""What each iteration of search and recovery gained: a line for the log, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaprune.campaigns.hand_out import PartNetwork
from gaprune.campaigns.records import Iteration, NextStart
from gaprune.evolve import hypervolume
from gaprune.progress import duration
from gaprune.runs import FLOPS_NOTE, atomic_write, best_of, cell, csv_table, markdown, write_file
from gaprune.session import FLOPS_LEVELS, Job

TABLE = "iterations.csv"
READABLE = "iterations.md"

STARTED = (
    "start_flops_share",
    "start_search_accuracy_before_training",
    "start_search_accuracy",
    "start_test_accuracy_before_training",
    "start_test_accuracy",
    "training_epochs",
    "training_seconds",
)
"""Columns on the network that an iteration pruned."""

Line = dict[str, float | None]
"""The front over all iterations up to one of them, by column."""


def table_lines(
    job: Job,
    done: Sequence[Iteration],
    starts: Sequence[NextStart | None],
    fronts: Sequence[Sequence[PartNetwork]],
) -> list[Line]:
    """A line an iteration.

    Args:
        job: of the true original.
        done: the iterations.
        starts: what each pruned; ``None`` for the original.
        fronts: for each iteration, the front over all up to it.
    """
    lines: list[Line] = []
    before: float | None = None
    for iteration, start, front in zip(done, starts, fronts, strict=True):
        volume = _hypervolume(job, front)
        lines.append(
            {
                "iteration": iteration.number,
                **_started(start),
                "evaluations": iteration.evaluations,
                "evaluation_seconds": iteration.seconds,
                "front_members": len(front),
                "members_of_this_iteration": sum(one.number == iteration.number for one in front),
                "hypervolume": volume,
                "hypervolume_gain": None if before is None else volume - before,
                **_best(front),
            }
        )
        before = volume
    return lines


def told(line: Line, start: NextStart | None, iterations: int) -> str:
    """A line of the table in words, for the log."""
    text = f"iteration {line['iteration']} of {iterations}: hypervolume {line['hypervolume']:.4f}"
    if start is not None:
        text += (
            f" ({line['hypervolume_gain']:+.4f}), started from {start.flops_share:.1%} of the FLOPs, which training in "
            f"{duration(start.seconds)} took from {start.before[0]:.4f} to {start.after[0]:.4f}"
        )
    best = {level: line[_at("search", level)] for level in FLOPS_LEVELS}
    parts = [f"{found:.4f} at {level:.0%} of the FLOPs" for level, found in best.items() if found is not None]
    return f"{text}; accuracy on the search images {', '.join(parts)}" if parts else text


def write_tables(job: Job, path: Path, lines: Sequence[Line]) -> None:
    """Write ``iterations.csv`` and ``iterations.md``, a line an iteration.

    Raises:
        OSError: they cannot be written; old ones stay.
    """
    write_file(path, TABLE, csv_table(list(lines[0]), [list(line.values()) for line in lines]).encode())
    atomic_write(path / READABLE, _readable(job, lines).encode())


def _hypervolume(job: Job, front: Sequence[PartNetwork]) -> float:
    """Of the members that keep to the constraints, to the objectives' reference values."""
    Y = np.array([one.minimised for one in front if one.violation == 0])
    return hypervolume(Y, np.array([objective.reference for objective in job.objectives])) if len(Y) else 0.0


def _started(start: NextStart | None) -> Line:
    """What an iteration pruned, and what training had made of it."""
    if start is None:
        return dict.fromkeys(STARTED)
    before, after = start.before, start.after
    values = (start.flops_share, before[0], after[0], before[1], after[1], start.epochs, start.seconds)
    return dict(zip(STARTED, values, strict=True))


def _best(front: Sequence[PartNetwork]) -> Line:
    """Accuracies of the member within a share of the original's FLOPs that is best on the search images."""
    line: Line = {}
    rows = [one.row for one in front]
    for level in FLOPS_LEVELS:
        within = [row for row in rows if row.flops_share <= level]
        best = best_of(within, rows) if within else None
        line[_at("search", level)] = None if best is None else best.search_accuracy
        line[_at("test", level)] = None if best is None else best.test_accuracy
    return line


def _at(part: str, level: float) -> str:
    return f"{part}_accuracy_at_{level:.0%}_flops"


def _readable(job: Job, lines: Sequence[Line]) -> str:
    """The table on its side: a column an iteration."""
    first, *names = lines[0]
    headings = [first, *(str(line[first]) for line in lines)]
    rows = [[name.replace("_", " "), *(cell(line[name]) for line in lines)] for name in names]
    return f"""# {job.model_name} on {job.data.name}, iteration by iteration

The first iteration prunes the original. Each later one prunes a member that the iteration before found and training
recovered. The front is that over all iterations so far; shares are of the original. {FLOPS_NOTE}

{markdown(headings, rows, text=1)}
"""
