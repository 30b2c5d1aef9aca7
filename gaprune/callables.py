"""Modules that are called like the function that they are named after."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any


def callable_module(name: str, function: Callable[..., Any]) -> None:
    """Let ``gaprune.search(...)`` work whether or not the module ``gaprune.search`` was imported by its name before."""

    class _CallableModule(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """The same as the function of that name."""
            return function(*args, **kwargs)

    sys.modules[name].__class__ = _CallableModule
