"""Whether JSON that lies in a directory has the form that is read: what has not is named, before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gaprune.kinds import shown


@dataclass(frozen=True)
class Form:
    """What a value of a file must be.

    Attributes:
        words: for errors.
        holds: whether a value is of it.
    """

    words: str
    holds: Callable[[Any], bool]

    def or_null(self) -> Form:
        """The same, or nothing."""
        return replace(self, holds=lambda value: value is None or self.holds(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _table_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


TEXT = Form("a text", _is_text)
TABLE = Form("an object", _is_table)
TABLES = Form("a list of objects", _list_of(_is_table))
TABLE_OF_TABLES = Form("an object of objects", _table_of(_is_table))
TEXTS = Form("a list of texts", _list_of(_is_text))
LIST = Form("a list", lambda value: isinstance(value, list))
PAIRS = Form("a list of pairs", _list_of(lambda value: isinstance(value, list) and len(value) == 2))
NUMBER = Form("a number", _is_number)
NUMBERS = Form("a list of numbers", _list_of(_is_number))
TABLE_OF_NUMBERS = Form("an object of numbers", _table_of(_is_number))
COUNT = Form("a whole number of at least 0", _is_count)
GROUPS = Form("an object of whole numbers above 0", _table_of(lambda value: _is_count(value) and value > 0))
IMAGE_SHAPE = Form(
    "three whole numbers above 0", lambda value: _list_of(_is_count)(value) and len(value) == 3 and min(value) > 0
)

MANIFEST_FORMS: dict[str, Form] = {
    **dict.fromkeys(("options", "objects", "identity", "model", "data", "environment", "original"), TABLE),
    **dict.fromkeys(("latency", "task", "result", "next_start", "handed_out", "recover"), TABLE.or_null()),
    "stage_seconds": TABLE_OF_NUMBERS,
    "objectives": TEXTS,
    "unpruned": PAIRS,
    "finetune": TABLES,
    "wall_seconds": NUMBER,
    **dict.fromkeys(("evaluations", "picked"), COUNT.or_null()),
    **dict.fromkeys(("generations_done", "rounds_done", "iterations_done"), COUNT.or_null()),
}
"""Of a manifest, where it says these."""

OF_THE_MANIFEST: dict[str, dict[str, Form]] = {
    "data": {
        "name": TEXT,
        "splits": TABLE,
        "mean": NUMBERS,
        "std": NUMBERS,
        "classes": TEXTS,
    },
    "model": {"name": TEXT, "neurons": COUNT},
    "original": {
        **dict.fromkeys(("search_accuracy", "size_mb"), NUMBER),
        "test_accuracy": NUMBER.or_null(),
        **dict.fromkeys(("flops", "params"), COUNT),
    },
}
"""Of objects in it."""

METRICS_FORMS: dict[str, Form] = {
    **dict.fromkeys(("objectives", "minimised", "attacked"), TABLE_OF_NUMBERS),
    **dict.fromkeys(("search_accuracy", "flops", "params", "size_mb", "violation"), NUMBER),
    "test_accuracy": NUMBER.or_null(),
    "key": TEXT,
    "made": TEXT,
    "finetuned": TABLES,
    "training": TABLE,
}
"""Of a member's metrics, where they say these."""


CONFIG_FORMS: dict[str, Form] = {
    "stem": TEXT,
    "classes": TEXTS,
    "image_shape": IMAGE_SHAPE.or_null(),
    "mean": NUMBERS,
    "std": NUMBERS,
    "convolution_groups": GROUPS,
    "grouped": TEXTS,
    "numbers": TABLE_OF_TABLES,
    "model": TEXT.or_null(),
    "base": TABLE.or_null(),
}
"""Of a member's configuration."""


def misshapen_manifest(manifest: Mapping[str, Any]) -> str | None:
    """What a manifest says in another form than is read, see ``misshapen``."""
    inner = (
        f"{name}.{told}"
        for name, forms in OF_THE_MANIFEST.items()
        if isinstance(manifest.get(name), dict) and (told := misshapen(manifest[name], forms))
    )
    return misshapen(manifest, MANIFEST_FORMS) or next(inner, None)


def misshapen(record: Mapping[str, Any], forms: Mapping[str, Form]) -> str | None:
    """What a record says in another form than is read; ``None`` where all that it says is right.

    >>> misshapen({"original": 3, "more": 1}, MANIFEST_FORMS)
    'original must be an object, got 3'
    """
    for name, form in forms.items():
        if name in record and not form.holds(record[name]):
            return f"{name} must be {form.words}, got {shown(record[name])}"
    return None
