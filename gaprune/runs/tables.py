"""Tables as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence

MEGABYTE = 1e6
"""Bytes."""


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]], *, text: int | Collection[int] = 0) -> str:
    """A Markdown table without a closing line break.

    Args:
        headings: one a column.
        rows: of cells; a bar in one is escaped.
        text: which columns are aligned to the left, as words are: the first so many, or their places. The others are
            numbers, to the right.

    >>> print(markdown(["layer", "kept"], [["conv1", "12"]], text=1))
    | layer | kept |
    | --- | ---: |
    | conv1 | 12 |
    """
    words = range(text) if isinstance(text, int) else text
    rule = ["---" if place in words else "---:" for place in range(len(headings))]
    escaped = [[one.replace("|", r"\|") for one in row] for row in (headings, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (escaped[0], rule, *escaped[1:]))


def csv_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV; ``None`` is an empty cell.

    >>> csv_table(["round", "seconds"], [[1, None]])
    'round,seconds\\n1,\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()


def cell(value: float | None) -> str:
    """A number as tables show it; nothing for none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
