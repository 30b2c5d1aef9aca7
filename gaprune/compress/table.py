"""The comparison for eyes and programs: Markdown, CSV, JSON and two pictures."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gaprune.compress.chain import ORIGINAL
from gaprune.compress.rows import Row, unmatched
from gaprune.compress.sitting import TURNS
from gaprune.runs import atomic_write, json_bytes, plain_number, tables, write_file

DASH = "-"
MARKDOWN, CSV, JSON = "table.md", "table.csv", "table.json"
BY_SIZE, BY_TIME = "accuracy-size.png", "accuracy-time.png"
NAMES = {"cpu": "CPU", "cuda": "GPU"}
KERNELS = "Times of PyTorch and ONNX Runtime come from different kernels: the row `onnx` is the original in the latter."


def markdown(
    rows: Sequence[Row], *, notes: Sequence[str] = (), threads: int, sizes: Sequence[int], processor: str = ""
) -> str:
    """The table, with a closing line break, and notes below it."""
    devices = [f"{device} {batch}" for device in NAMES for batch in sizes]
    headings = ["method", "MB", "accuracy %", "macro F1 %"]
    headings += [f"{NAMES[name.split()[0]]} s, batch {name.split()[1]}" for name in devices]
    headings += ["params", "FLOPs", "runtime", "passes"]
    words = (headings.index("method"), headings.index("runtime"))
    table = tables.markdown(headings, [_cells(row, devices) for row in rows], text=words)
    text = [
        f"Times are medians of one batch after warm-up, {threads} CPU thread{'s' if threads > 1 else ''}"
        f"{f' of {processor}' if processor else ''}{_rounds(rows)}. {KERNELS} "
        "Parameters and FLOPs of quantized rows are those of the network that was quantized. Passes are over the "
        "training data.",
        *notes,
    ]
    return table + "\n\n" + "\n\n".join(text) + "\n"


def verdict(rows: Sequence[Row]) -> list[str]:
    """Whether at every size some chain with gaprune's network is as accurate as every chain without; if not, where."""
    if not any(row.ours for row in rows):
        return []
    others = [row for row in rows if not row.ours and row.chain != ORIGINAL]
    missed = unmatched(rows)
    line = (
        f"Of {len(others)} chains without gaprune's network {len(others) - len(missed)} are matched by one with it "
        "that is no larger and at least as accurate."
    )
    return [line + (f" Not matched: {', '.join(f'`{row.chain}`' for row in missed)}." if missed else "")]


def write_tables(
    folder: Path,
    rows: Sequence[Row],
    *,
    failures: Mapping[str, str],
    threads: int,
    sizes: Sequence[int],
    about: Mapping[str, Any],
    processor: str = "",
) -> str:
    """Write ``table.md``, ``.csv`` and ``.json``; the Markdown.

    Args:
        folder: where to.
        rows: in the order of the table.
        failures: by chain, why it has no row.
        threads: CPU threads of the times.
        sizes: of the batches that were timed.
        about: JSON values that say how the rows were made.
        processor: what times on the CPU belong to.

    Raises:
        OSError: a file cannot be written.
    """
    notes = [*verdict(rows), *(f"`{chain}` has no row: {reason}" for chain, reason in failures.items())]
    text = markdown(rows, notes=notes, threads=threads, sizes=sizes, processor=processor)
    atomic_write(folder / MARKDOWN, text.encode())
    write_file(folder, CSV, _csv(rows).encode())
    record = {"rows": [dataclasses.asdict(row) for row in rows], "failures": dict(failures), **about}
    write_file(folder, JSON, json_bytes(record))
    return text


def draw(folder: Path, rows: Sequence[Row], *, title: str, batch: int) -> None:
    """Write the two pictures: accuracy against size, and against the time of a batch on the CPU.

    Raises:
        OSError: a file cannot be written.
    """
    sizes = [(row, row.size_mb) for row in rows]
    times = [(row, seconds) for row in rows if (seconds := row.seconds.get(f"cpu {batch}")) is not None]
    _scatter(folder / BY_SIZE, sizes, "size on disk (MB)", title)
    _scatter(folder / BY_TIME, times, f"seconds on the CPU, batch of {batch}", title)


def _scatter(path: Path, points: Sequence[tuple[Row, float]], label: str, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for ours, color in ((False, "tab:blue"), (True, "tab:red")):
        for runtime, marker in (("PyTorch", "o"), ("ONNX Runtime", "s")):
            chosen = [(x, row) for row, x in points if (row.ours, row.runtime) == (ours, runtime)]
            if chosen:
                accuracies = [100 * row.metrics["accuracy"] for _, row in chosen]
                name = f"{'with' if ours else 'without'} gaprune's network, {runtime}"
                axes.scatter([x for x, _ in chosen], accuracies, s=22, color=color, marker=marker, label=name)
    for row, x in points:
        axes.annotate(
            row.chain, (x, 100 * row.metrics["accuracy"]), fontsize=5, xytext=(3, 3), textcoords="offset points"
        )
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("accuracy on the test set (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    atomic_write(path, picture.getvalue())


def _rounds(rows: Sequence[Row]) -> str:
    spreads = [row.spread for row in rows if row.spread is not None]
    if not spreads:
        return ""
    return f", of {TURNS} rounds through all rows: a row's slowest took at most {max(spreads):.2f} times its fastest"


def _cells(row: Row, devices: Sequence[str]) -> list[str]:
    times = [row.seconds.get(name) for name in devices]
    return [
        row.chain.replace("|", chr(92) + "|"),
        f"{row.size_mb:.2f}",
        *(f"{100 * row.metrics[name]:.2f}" for name in ("accuracy", "f1")),
        *(DASH if seconds is None else f"{seconds:.3g}" for seconds in times),
        plain_number(row.params),
        DASH if row.flops is None else plain_number(row.flops),
        row.runtime,
        f"{row.passes:g}",
    ]


def _csv(rows: Sequence[Row]) -> str:
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    seconds = list(dict.fromkeys(name for row in rows for name in row.seconds))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    times = [f"seconds {name}" for name in seconds]
    writer.writerow(["method", "size_mb", *metrics, *times, "params", "flops", "runtime", "passes", "path"])
    for row in rows:
        measured = [row.metrics.get(name, "") for name in metrics] + [row.seconds.get(name) for name in seconds]
        writer.writerow([row.chain, row.size_mb, *measured, row.params, row.flops, row.runtime, row.passes, row.path])
    return text.getvalue()
