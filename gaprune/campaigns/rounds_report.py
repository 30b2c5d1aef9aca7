"""What rounds hand out: the front of their networks, and tables like the paper's."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from gaprune.campaigns.hand_out import PartNetwork, hand_out, original_row
from gaprune.campaigns.round_result import RoundResult
from gaprune.front.members import CSV
from gaprune.prune.masks import Masks
from gaprune.runs import FLOPS_NOTE, FrontRow, RunDirectory, read_csv
from gaprune.runs.files import atomic_write
from gaprune.runs.tables import cell, markdown
from gaprune.session.job import Job

TABLE = "rounds.csv"
READABLE = "rounds.md"
COLUMNS = (
    "round",
    "genes_removed",
    "params",
    "params_share",
    "size_mb",
    "search_accuracy",
    "test_accuracy",
    "flops",
    "flops_share",
    "evaluations",
    "seconds",
    "wall_seconds",
    "training_seconds",
)


def save_rounds(job: Job, run: RunDirectory, done: Sequence[RoundResult]) -> list[FrontRow]:
    """Hand out the rounds' networks under ``front/``, all of them, with their table; nothing is dominated away.

    Returns:
        One row a round, fewest FLOPs first.
    """
    table = run.path / CSV
    if table.exists() and run.manifest.get("rounds_done") == len(done):
        return read_csv(table)
    networks = [_network(run.path, result) for result in done]
    smallest_first = sorted(networks, key=lambda network: (original_row(job, network).flops, -network.part["round"]))
    return hand_out(job, run, smallest_first, {"rounds_done": len(done)})


def _network(path: Path, result: RoundResult) -> PartNetwork:
    ways = f"in {result.number} rounds, the last one trained for {result.epochs} epochs"
    return PartNetwork(
        source=path / result.place,
        genome=result.genome,
        search_accuracy=result.search_accuracy,
        test_accuracy=result.test_accuracy,
        objectives=result.objectives,
        made=ways if result.epochs else f"without training, in {result.number} rounds",
        part={"round": result.number},
    )


def write_tables(job: Job, path: Path, done: Sequence[RoundResult]) -> None:
    """Write ``rounds.csv`` and ``rounds.md``: the original as round 0, then a line a round.

    Raises:
        OSError: they cannot be written; old ones stay.
    """
    records = [_original_record(job), *(_record(job, path, result) for result in done)]
    masks = [Masks.full(job.space.graph), *(job.space.masks(result.genome) for result in done)]
    widths = [convolution_widths(job, one) for one in masks]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"neurons_{name}" for name in widths[0])])
    for record, neurons in zip(records, widths, strict=True):
        writer.writerow([*("" if value is None else value for value in record), *neurons.values()])
    atomic_write(path / TABLE, text.getvalue().encode())
    atomic_write(path / READABLE, _readable(job, records, widths).encode())


def convolution_widths(job: Job, masks: Masks) -> dict[str, int]:
    """Neurons of every convolution of the original that are left, in order of computation."""
    layers = [layer for layer in job.space.graph.layers if layer.convolution]
    return {layer.name: int(masks.kept(layer.outputs).sum()) for layer in layers}


Record = tuple[float | None, ...]


def _original_record(job: Job) -> Record:
    o = job.original
    return (0, 0.0, o.params, 1.0, o.size_mb, o.search_accuracy, o.test_accuracy, o.flops, 1.0, 0, 0.0, 0.0, 0.0)


def _record(job: Job, path: Path, result: RoundResult) -> Record:
    row = original_row(job, _network(path, result))
    return (
        result.number,
        result.share,
        row.params,
        row.params_share,
        row.size_mb,
        row.search_accuracy,
        row.test_accuracy,
        row.flops,
        row.flops_share,
        result.evaluations,
        round(result.seconds, 3),
        result.wall_seconds,
        round(result.training_seconds, 3),
    )


def _readable(job: Job, records: Sequence[Record], widths: Sequence[dict[str, int]]) -> str:
    headings = [name.replace("_", " ") for name in COLUMNS]
    lines = [headings, ["---:"] * len(headings), *([cell(v) for v in record] for record in records)]
    numbers = [f"round {number}" for number in range(1, len(records))]
    neurons = [["convolution", "original", *numbers], ["---", *["---:"] * len(records)]]
    neurons += [[name, *(str(one[name]) for one in widths)] for name in widths[0]]
    return f"""# {job.model_name} on {job.data.name}, round by round

Round 0 is the original. Each round works on the network of the round before; shares are of the original. Seconds are
those of the evaluations; wall seconds those of a round's whole search: statistics, removal order, evaluations, and
its network built and measured. {FLOPS_NOTE}

{markdown(lines)}

Neurons left in each convolution:

{markdown(neurons)}
"""
