"""Markdown tables, and numbers as they stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from gaprune.runs.tables import markdown


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; ``None`` is a dash, floats are rounded to four digits."""
    return markdown(header, [[cell(value) for value in row] for row in rows], text=len(header)) + "\n"


def cell(value: Any) -> str:
    """A value without what would break a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    if "`" not in text:
        text = re.sub(r"<(?=[a-zA-Z])", "&lt;", text)  # a placeholder, not a tag
    return text.replace("\n", " ")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def millions(count: int) -> str:
    """A count of parameters, in millions."""
    return f"{count / 1e6:.2f} M"


def demoted(markdown: str, levels: int = 1) -> str:
    """Headings of a page that is put into another one, ``levels`` deeper."""
    return "\n".join("#" * levels + text if text.startswith("#") else text for text in markdown.splitlines())
