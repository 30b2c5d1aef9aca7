"""Options as the keyword arguments of a Python function."""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gaprune.errors import OptionError, choice_error
from gaprune.kinds import SWITCH, Kind, check, shown
from gaprune.options.fields import Entry, entries
from gaprune.options.units import number_in

PICK = "pick"

TEXTS = Kind("a list of names", lambda items: all(isinstance(one, str) for one in items))


def from_keywords(options_class: type[Any], values: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """Values by flat names as options have them: texts become paths, and lists and single numbers tuples.

    Args:
        options_class: the command's options.
        values: as a caller gave them.
        but: options that are arguments of their own.

    Raises:
        OptionError: there is no such option, and the nearest are listed; or a value is of another kind.
    """
    known = entries(options_class)
    valid = tuple(name for name in known if name not in but)
    for name in values:
        if name not in valid:
            raise choice_error("option", name, difflib.get_close_matches(name, valid, n=3) or valid)
    return {name: _value(known[name], value) for name, value in values.items()}


def _value(entry: Entry, value: Any) -> Any:
    """A caller's value as options have it; what numbers and switches may be is checked with the options themselves.

    Raises:
        OptionError: it is of another kind than its option.
    """
    if (value is None and type(None) in typing.get_args(entry.hint)) or entry.is_auto(value):
        return None
    if entry.units and isinstance(value, str):
        return number_in(entry.name.replace("_", "-"), value, entry.units)
    if entry.kind is Path:
        return Path(_of_kind(entry, value, (str, os.PathLike), "a path"))
    if entry.kind is bool:
        check({entry.name: (value, SWITCH)})
    if entry.kind is str and not isinstance(value, str):
        if entry.choices:
            raise choice_error(entry.name.replace("_", "-"), shown(value), entry.choices)
        _of_kind(entry, value, str, _a_text(entry))
    if typing.get_origin(entry.kind) is not tuple:
        return value
    if entry.kind == tuple[float, ...] and isinstance(value, (int, float)):
        return (float(value),)
    what = "a number or a list of numbers" if entry.kind == tuple[float, ...] else "a list of names"
    items = tuple(_of_kind(entry, value, (list, tuple), what))
    if entry.kind == tuple[str, ...]:
        check({entry.name: (items, TEXTS)})
    return items


def _a_text(entry: Entry) -> str:
    if entry.name != PICK:
        return "a text"
    return "a word such as knee, all or '3,7'" if "all" in entry.help else "a word such as knee or 'flops<=0.3'"


def _of_kind(entry: Entry, value: Any, kind: Any, wanted: str) -> Any:
    if not isinstance(value, kind):
        raise OptionError(f"{entry.name} must be {wanted}, got {shown(value)}")
    return value
