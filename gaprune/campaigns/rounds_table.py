"""Tables of rounds like the paper's: a line a round, and the neurons that each leaves in each convolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gaprune.campaigns.records import Round
from gaprune.front import member_row
from gaprune.prune import Masks
from gaprune.runs import FLOPS_NOTE, FrontRow, atomic_write, cell, csv_table, markdown, write_file
from gaprune.session import Job

TABLE = "rounds.csv"
READABLE = "rounds.md"


Line = dict[str, float | None]
"""A round, by column."""


def write_tables(job: Job, path: Path, done: Sequence[Round]) -> None:
    """Write ``rounds.csv`` and ``rounds.md``: the original as round 0, then a line a round.

    Args:
        job: of the true original.
        path: of the run.
        done: the rounds.

    Raises:
        OSError: they cannot be written; old ones stay.
    """
    rounds = [_round_0(job), *done]
    lines = [_line(job, one) for one in rounds]
    widths = [convolution_widths(job, job.space.masks(one.genome)) for one in rounds]
    headings = [*lines[0], *(f"neurons_{name}" for name in widths[0])]
    cells = [[*line.values(), *kept.values()] for line, kept in zip(lines, widths, strict=True)]
    write_file(path, TABLE, csv_table(headings, cells).encode())
    atomic_write(path / READABLE, _readable(job, lines, widths).encode())


def convolution_widths(job: Job, masks: Masks) -> dict[str, int]:
    """Neurons of every convolution of the original that are left, in order of computation."""
    layers = [layer for layer in job.space.graph.layers if layer.convolution]
    return {layer.name: int(masks.kept(layer.outputs).sum()) for layer in layers}


def round_row(job: Job, result: Round) -> FrontRow:
    """The row of a round's network, counted against the true original; not numbered."""
    return member_row(job, result.genome, result.objectives, result.search_accuracy, result.test_accuracy)


def _round_0(job: Job) -> Round:
    accuracies = (job.original.search_accuracy, job.original.test_accuracy)
    return Round(0, job.space.full(), "", *accuracies, {}, share=0.0, evaluations=0, seconds=0.0, wall_seconds=0.0)


def _line(job: Job, result: Round) -> Line:
    row = round_row(job, result)
    return {
        "round": result.number,
        "genes_removed": result.share,
        "params": row.params,
        "params_share": row.params_share,
        "size_mb": row.size_mb,
        "search_accuracy": row.search_accuracy,
        "test_accuracy": row.test_accuracy,
        "flops": row.flops,
        "flops_share": row.flops_share,
        "evaluations": result.evaluations,
        "seconds": round(result.seconds, 3),
        "wall_seconds": result.wall_seconds,
        "training_seconds": round(result.training_seconds, 3),
    }


def _readable(job: Job, lines: Sequence[Line], widths: Sequence[dict[str, int]]) -> str:
    headings = [name.replace("_", " ") for name in lines[0]]
    table = markdown(headings, [[cell(value) for value in line.values()] for line in lines])
    numbers = [f"round {number}" for number in range(1, len(lines))]
    neurons = [[name, *(str(one[name]) for one in widths)] for name in widths[0]]
    return f"""# {job.model_name} on {job.data.name}, round by round

Round 0 is the original. Each round works on the network of the round before; shares are of the original. Seconds are
those of the evaluations; wall seconds those of a round's whole search: statistics, removal order, evaluations, and
its network built and measured. {FLOPS_NOTE}

{table}

Neurons left in each convolution:

{markdown(["convolution", "original", *numbers], neurons, text=1)}
"""
