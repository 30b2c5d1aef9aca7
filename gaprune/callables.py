"""Modules that are called like the function that they are named after."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Collection
from typing import Any


def callable_module(name: str, home: str, function: str) -> None:
    """Let ``gaprune.search(...)`` work whether or not the module ``gaprune.search`` was imported by its name before.

    Args:
        name: of the module.
        home: the module that has the function; imported when it is called.
        function: its name.
    """

    class _CallableModule(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """The same as the function of that name."""
            return getattr(importlib.import_module(home), function)(*args, **kwargs)

    sys.modules[name].__class__ = _CallableModule


def lazy_names(module: str, home: str, names: Collection[str], name: str) -> Any:
    """What a module's ``__getattr__`` gives for names that another module has.

    Raises:
        AttributeError: it is none of them.
    """
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
