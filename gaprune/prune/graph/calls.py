"""What a module is called with, as a hook sees it: its input comes first, by position or by keyword."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Positional = tuple[Any, ...]
Keywords = dict[str, Any]


def input_of(positional: Positional, keywords: Keywords) -> Tensor:
    """The input of a call of a module."""
    found: Tensor = positional[0] if positional else next(iter(keywords.values()))
    return found


def with_input(positional: Positional, keywords: Keywords, x: Tensor) -> tuple[Positional, Keywords]:
    """The same call with another input."""
    if positional:
        return (x, *positional[1:]), keywords
    return positional, {**keywords, next(iter(keywords)): x}
