"""Tables as data frames, where pandas is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gaprune.errors import OptionError
from gaprune.runs.display import points_lost
from gaprune.runs.front import Baseline, FrontRow


def frame(records: Sequence[dict[str, Any]], index: str, instead: str) -> Any:
    """Records as a ``pandas.DataFrame``.

    Args:
        records: a row each.
        index: the column that names the rows.
        instead: what does without pandas, for the error.

    Raises:
        OptionError: pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        advice = f"pip install pandas; {instead}"
        raise OptionError(f"frame() needs pandas, which is not installed: {advice}") from None
    return pandas.DataFrame(list(records)).set_index(index)


def row_values(row: FrontRow, original: Baseline | None) -> dict[str, Any]:
    """A member's values by name, flat, with what it loses."""
    values = asdict(row)
    if row.latency is None:
        del values["latency"], values["latency_share"]
    objectives = values.pop("objectives")
    lost = None if original is None else points_lost(row, original)
    named = {"name": row.name, **values, "points_lost": lost}
    return named | {f"objective_{name}": value for name, value in objectives.items()}
