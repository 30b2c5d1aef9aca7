"""Options as the keyword arguments of a Python function."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gaprune.errors import choice_error
from gaprune.options.fields import Entry, entries


def from_keywords(options_class: type[Any], values: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """Values by flat names as options have them: texts become paths, and lists and single numbers tuples.

    Args:
        options_class: the command's options.
        values: as a caller gave them.
        but: options that are arguments of their own.

    Raises:
        OptionError: there is no such option; the nearest are listed.
    """
    known = entries(options_class)
    valid = tuple(name for name in known if name not in but)
    for name in values:
        if name not in valid:
            raise choice_error("option", name, difflib.get_close_matches(name, valid, n=3) or valid)
    return {name: _value(known[name], value) for name, value in values.items()}


def _value(entry: Entry, value: Any) -> Any:
    if entry.kind is Path and isinstance(value, str):
        return Path(value)
    if typing.get_origin(entry.kind) is not tuple:
        return value
    if entry.kind == tuple[float, ...] and isinstance(value, (int, float)):
        return (float(value),)
    return tuple(value) if isinstance(value, list) else value
