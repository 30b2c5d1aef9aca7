"""The rows of a comparison, as points beside a front."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gaprune.errors import RunError
from gaprune.runs import as_number, fact, numbers, read_json_object

TABLE = "table.json"
ORIGINAL = "none"
"""What the row of the original is called."""


@dataclass(frozen=True)
class Method:
    """A network that another method has made.

    Attributes:
        name: its chain, such as ``tucker:size=0.2+quantize``.
        accuracy: top-1 on the test set, 0 to 1.
        shares: of the original's ``flops``, ``params`` and ``size``, where they are known.
    """

    name: str
    accuracy: float
    shares: dict[str, float]


@dataclass(frozen=True)
class MethodsRecord:
    """The rows of a comparison.

    Attributes:
        path: its directory.
        methods: without the original.
        notes: what cannot be shown, a line each.
    """

    path: Path
    methods: tuple[Method, ...]
    notes: tuple[str, ...]


def is_comparison(path: Path) -> bool:
    """Whether a directory holds the table of a comparison."""
    return (path / TABLE).is_file()


def read_methods(path: Path) -> MethodsRecord:
    """Read a comparison.

    Raises:
        RunError: its table is damaged.
    """
    file = path / TABLE
    try:
        rows = fact(read_json_object(file), "rows", kind=list)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if rows is None:
        raise RunError(f"{file} is no table of a comparison: it has no rows")
    costs = {name: costs for row in rows if (name := fact(row, "chain", kind=str)) and (costs := _costs(row))}
    whole = costs.get(ORIGINAL, {})
    found, notes = [], [] if whole else [f"{path} has no row of the original: its methods have no shares"]
    for row in rows:
        name, accuracy = fact(row, "chain", kind=str), fact(row, "metrics", "accuracy", kind=float)
        if name is None or accuracy is None:
            notes.append(f"{path} has a row without a name or an accuracy, which is left out")
        elif name != ORIGINAL:
            shares = {cost: value / whole[cost] for cost, value in costs.get(name, {}).items() if whole.get(cost)}
            found.append(Method(name, accuracy, shares))
    return MethodsRecord(path, tuple(found), tuple(notes))


def _costs(row: object) -> dict[str, float]:
    found = numbers(row)
    named = {"flops": found.get("flops"), "params": found.get("params"), "size": found.get("size_mb")}
    return {name: value for name, value in named.items() if as_number(value) is not None and value is not None}
