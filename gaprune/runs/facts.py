"""Values out of JSON that somebody else may have written, or half of which is gone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def fact(record: Any, *names: str, kind: type[T]) -> T | None:
    """A value of nested JSON objects, where it is there and of its kind.

    Args:
        record: usually a manifest.
        *names: of the objects on the way, the value's own last.
        kind: what it must be; ``float`` takes whole numbers too, and never an infinity or NaN.

    Example:
        >>> manifest = {"original": {"flops": 3, "params": "many"}}
        >>> fact(manifest, "original", "flops", kind=float)
        3.0
        >>> fact(manifest, "original", "params", kind=float), fact(manifest, "data", "name", kind=str)
        (None, None)
    """
    for name in names:
        if not isinstance(record, Mapping) or name not in record:
            return None
        record = record[name]
    value = as_number(record) if kind is float else record
    if kind is int and isinstance(value, bool):
        return None
    return value if isinstance(value, kind) else None


def as_number(value: Any) -> float | None:
    """A finite number as ``float``; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON has whole numbers of any length
        return None


def numbers(record: Any) -> dict[str, float]:
    """The finite numbers of an object, by name; nothing where it is none."""
    if not isinstance(record, Mapping):
        return {}
    return {str(name): number for name, value in record.items() if (number := as_number(value)) is not None}
