"""What rounds hand out: the front of their networks, and tables like the paper's."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from gaprune.driver.engine import MEGABYTE
from gaprune.driver.members import CSV, FRONT, member_readme
from gaprune.driver.round_result import RoundResult
from gaprune.driver.setup import Job
from gaprune.driver.trained import carry_over, settled
from gaprune.prune.masks import Masks
from gaprune.runs import FLOPS_NOTE, FrontRow, RunDirectory, read_csv, write_csv
from gaprune.runs.files import atomic_write, put_back, read_json_object, take_place, write_json
from gaprune.saved import METRICS, save_genome

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
    partial, final = run.path / f"{FRONT}.partial", run.path / FRONT
    shutil.rmtree(partial, ignore_errors=True)
    put_back(final)
    table.unlink(missing_ok=True)
    rows = [_row(job, result) for result in done]
    pairs = sorted(zip(rows, done, strict=True), key=lambda pair: (pair[0].flops, -pair[1].number))
    digits = max(2, len(str(len(done) - 1)))
    made = []
    for index, (row, result) in enumerate(pairs):
        name = f"{index:0{digits}d}"
        numbered = FrontRow(**{**vars(row), "index": index, "path": f"{FRONT}/{name}"})
        _hand_out(job, run.path / result.place, partial / name, numbered, result)
        made.append(numbered)
    carry_over(final, partial, made)
    take_place(partial, final)
    made = [settled(run.path, row) for row in made]
    write_csv(made, table)
    run.update_manifest(rounds_done=len(done))
    return made


def _row(job: Job, result: RoundResult) -> FrontRow:
    masks = job.space.masks(result.genome)
    costs = job.space.costs(masks)
    return FrontRow(
        index=-1,
        key=result.genome.key,
        objectives=result.objectives,
        search_accuracy=result.search_accuracy,
        test_accuracy=result.test_accuracy,
        flops=costs.flops,
        flops_share=costs.flops / job.original.flops,
        params=costs.params,
        params_share=costs.params / job.original.params,
        size_mb=costs.size / MEGABYTE,
        widths=tuple(int(masks.neurons[group.slice].sum()) for group in job.space.graph.groups),
    )


def _hand_out(job: Job, source: Path, folder: Path, row: FrontRow, result: RoundResult) -> None:
    """A copy of a round's network that says what it is of the true original."""
    shutil.copytree(source, folder)
    metrics = read_json_object(source / METRICS)
    own = {name: value for name, value in vars(row).items() if name not in ("index", "path")}
    write_json(folder / METRICS, {**metrics, **own, "widths": list(row.widths), "round": result.number})
    save_genome(folder, result.genome, job.space.layout)
    ways = f"in {result.number} rounds, the last one trained for {result.epochs} epochs"
    made = ways if result.epochs else f"without training, in {result.number} rounds"
    atomic_write(folder / "README.md", member_readme(job, row, made).encode())


def write_tables(job: Job, path: Path, done: Sequence[RoundResult]) -> None:
    """Write ``rounds.csv`` and ``rounds.md``: the original as round 0, then a line a round.

    Raises:
        OSError: they cannot be written; old ones stay.
    """
    records = [_original_record(job), *(_record(job, result) for result in done)]
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
    return (0, 0.0, o.params, 1.0, o.size_mb, o.search_accuracy, o.test_accuracy, o.flops, 1.0, 0, 0.0, 0.0)


def _record(job: Job, result: RoundResult) -> Record:
    row = _row(job, result)
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
        round(result.training_seconds, 3),
    )


def _readable(job: Job, records: Sequence[Record], widths: Sequence[dict[str, int]]) -> str:
    headings = [name.replace("_", " ") for name in COLUMNS]
    lines = [headings, ["---:"] * len(headings), *([_cell(v) for v in record] for record in records)]
    numbers = [f"round {number}" for number in range(1, len(records))]
    neurons = [["convolution", "original", *numbers], ["---", *["---:"] * len(records)]]
    neurons += [[name, *(str(one[name]) for one in widths)] for name in widths[0]]
    return f"""# {job.model_name} on {job.data.name}, round by round

Round 0 is the original. Each round works on the network of the round before; shares are of the original. Seconds are
those of the evaluations. {FLOPS_NOTE}

{_table(lines)}

Neurons left in each convolution:

{_table(neurons)}
"""


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
