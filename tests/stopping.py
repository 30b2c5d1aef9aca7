"""Interrupting work from inside, as Ctrl-C does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def interrupted_after(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """``function``, which is interrupted instead of being called once more than ``count`` times."""
    calls: list[None] = []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) > count:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return interrupted
