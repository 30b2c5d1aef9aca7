"""A comparison from its chains to its tables and pictures, for images and texts alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaprune.compress.chain import Chain
from gaprune.compress.method import Work
from gaprune.compress.rows import Comparison, Row
from gaprune.compress.table import BY_SIZE, BY_TIME, CSV, draw, write_tables
from gaprune.errors import MethodError, RunError
from gaprune.progress import Reporter
from gaprune.runs import RunDirectory, processor


def report(
    directory: RunDirectory,
    original: Work,
    chains: Sequence[Chain],
    *,
    threads: int,
    sizes: Sequence[int],
    reporter: Reporter,
    about: Mapping[str, Any],
) -> list[Row]:
    """Make the rows that are not there yet, then write and say the table.

    Args:
        directory: of the comparison.
        original: what chains start from.
        chains: in the order of the table.
        threads: CPU threads of the times.
        sizes: of the batches that are timed.
        reporter: told how it goes, and the table.
        about: JSON values for ``table.json``; ``title`` stands above the pictures.

    Raises:
        MethodError: a chain cannot be, which is told before any runs; or none gave a row.
        RunError: the directory cannot be written.
    """
    for chain in chains:
        chain.check(original.outline)
    rows, failures = Comparison(directory.path, original, threads, reporter, sizes).rows(chains)
    if not rows:
        raise MethodError(next(iter(failures.values()), "no chain was asked for"))
    try:
        text = write_tables(
            directory.path,
            rows,
            failures=failures,
            threads=threads,
            sizes=sizes,
            about={"threads": threads, **about},
            processor=processor(),
        )
        draw(directory.path, rows, title=str(about["title"]), batch=sizes[-1])
    except OSError as error:
        raise RunError(f"cannot write in {directory.path}: {error.strerror or error}") from error
    reporter.say(text)
    reporter.say(f"comparison: {directory.path} ({CSV}, {BY_SIZE}, {BY_TIME})")
    return rows
