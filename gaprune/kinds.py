"""Kinds of arguments: what is of another kind is refused in one line, where a function begins; it is no default."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

from gaprune.errors import GapruneError, OptionError


@dataclass(frozen=True)
class Kind:
    """A kind of argument.

    Attributes:
        words: what it is, for errors.
        holds: whether a value is of it.
    """

    words: str
    holds: Callable[[Any], bool]

    def or_none(self) -> Kind:
        """The same, or nothing."""
        return replace(self, holds=lambda value: value is None or self.holds(value))


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _texts(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return False
    return all(isinstance(one, str) or _whole(one) for one in value)


def _reports(value: Any) -> bool:
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("say", "task"))


TEXT = Kind("a text", lambda value: isinstance(value, str) and bool(value.strip()))
NAMES = Kind("a list of names", _texts)
SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
SEED = Kind("a whole number of at least 0", lambda value: _whole(value) and value >= 0)
NUMBER = Kind("a number", _number)
PATH = Kind("a path", lambda value: isinstance(value, (str, os.PathLike)) and bool(str(value)))
FUNCTION = Kind("a function", lambda value: callable(value) and not isinstance(value, type))
PAIR = Kind("a pair (images, labels)", lambda value: isinstance(value, (tuple, list)) and len(value) == 2)
REPORTER = Kind("a reporter, with the methods say and task", _reports)


def check(given: Mapping[str, tuple[Any, Kind]], error: type[GapruneError] = OptionError) -> None:
    """Refuse arguments of another kind.

    Args:
        given: by name the value, and what it must be.
        error: what is raised.

    Raises:
        GapruneError: of that type; one line with the name, the kind and the value.

    >>> check({"flip": (1, SWITCH)})
    Traceback (most recent call last):
        ...
    gaprune.errors.OptionError: flip must be True or False, got 1
    """
    for name, (value, kind) in given.items():
        if not kind.holds(value):
            raise error(f"{name} must be {kind.words}, got {shown(value)}")


def shown(value: Any) -> str:
    """A value in a few words of one line."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = repr(value)
    plain = isinstance(value, (str, bytes, int, float, list, tuple, dict, set, type(None)))
    return text if plain and len(text) <= 60 and "\n" not in text else f"an object of type {type(value).__name__}"
