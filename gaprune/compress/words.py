"""Settings of a method: the words after its name in a chain, such as ``size=0.5`` and ``raw``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gaprune.errors import OptionError, choice_error

OURS = "ours"
"""The method, and the kind of student, that is a member of a search's front."""

RAW = "raw"
"""Leaves a network as the method made it, without training."""


def method_text(name: str, words: Sequence[str]) -> str:
    """The method as it is written."""
    return ":".join((name, *words))


def flag(words: list[str], name: str) -> bool:
    """Whether a word is there; it is taken out."""
    if name in words:
        words.remove(name)
        return True
    return False


def choice(words: list[str], choices: Sequence[str], default: str) -> str:
    """The one of ``choices`` that is there, or the default; it is taken out."""
    found = next((word for word in words if word in choices), default)
    flag(words, found)
    return found


def share(words: list[str], name: str) -> float | None:
    """The number of ``name=NUMBER``, above 0 and at most 1; None where it is not there. It is taken out.

    Raises:
        OptionError: it is no such number.
    """
    for word in words:
        if word.startswith(f"{name}="):
            words.remove(word)
            return _number(word)
    return None


def nothing_left(method: str, words: Sequence[str], valid: Sequence[str]) -> None:
    """Raise ``OptionError`` where a word was not understood."""
    if words:
        raise choice_error(f"setting of {method}", words[0], tuple(valid))


def _number(word: str) -> float:
    name, _, text = word.partition("=")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise OptionError(f"{name} must be a share above 0 and up to 1, got {word!r}")
    return value
