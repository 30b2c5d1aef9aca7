"""Markdown tables of a run."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as a table; the second line is the rule under the headings."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: float | None) -> str:
    """A number as tables show it; nothing for none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
