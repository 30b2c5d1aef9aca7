"""Networks of a caller's own: ``package.module:factory``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from torch import nn

from gaprune.errors import ModelError

Factory = Callable[..., object]


def find_factory(name: str) -> Factory:
    """Import ``package.module:factory``; nothing is called.

    Modules are looked for in the working folder, too, however Python was started.

    Raises:
        ModelError: it has another form, cannot be imported, or is no callable that builds a network.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise ModelError(f"{name!r} is not of the form package.module:factory")
    if module_name.endswith(".py"):
        module = ".".join(Path(module_name).with_suffix("").parts)
        raise ModelError(f"{name!r} names a file: give the module and its factory, {module}:{attribute}")
    try:
        found = getattr(_imported(module_name), attribute)
    except Exception as error:  # importing runs a stranger's code
        raise ModelError(f"{name} cannot be imported: {_line(error)}") from error
    if isinstance(found, nn.Module):
        raise ModelError(f"{name} is a network, expected a function or class that builds one")
    if not callable(found):
        raise ModelError(f"{name} is {type(found).__name__}, expected a callable that builds a network")
    return found  # type: ignore[no-any-return]


def call_factory(name: str, num_classes: int) -> nn.Module:
    """A network of ``package.module:factory``, called with ``num_classes`` where it takes that, else with nothing.

    Raises:
        ModelError: it cannot be imported or called, or gives no ``nn.Module``.
    """
    factory = find_factory(name)
    named, anything = _takes_classes(factory)
    try:
        model = factory(num_classes=num_classes) if named or anything else factory()
    except Exception as error:  # a stranger's code may raise anything
        if anything and not named and isinstance(error, TypeError) and "num_classes" in str(error):
            model = _without_arguments(name, factory)
        elif named or anything:
            raise ModelError(f"{name} cannot be called with num_classes={num_classes}: {_line(error)}") from error
        else:
            raise _uncallable(name, error) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} gave {type(model).__name__}, expected a torch.nn.Module")
    return model


def _without_arguments(name: str, factory: Factory) -> object:
    try:
        return factory()
    except Exception as error:
        raise _uncallable(name, error) from error


def _uncallable(name: str, error: Exception) -> ModelError:
    advice = "a factory takes num_classes, or no argument at all"
    return ModelError(f"{name} cannot be called without arguments: {_line(error)} ({advice})")


def _takes_classes(factory: Factory) -> tuple[bool, bool]:
    """Whether it has an argument ``num_classes``, and whether it takes any keyword."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # as some callables that are written in C
        return False, True
    named = "num_classes" in parameters and parameters["num_classes"].kind is not inspect.Parameter.POSITIONAL_ONLY
    return named, any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


def _imported(module_name: str) -> object:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        top, here = module_name.partition(".")[0], str(Path.cwd())
        known = {str(Path(entry or ".").resolve()) for entry in sys.path}
        if error.name != top or here in known or not any(Path(here).glob(f"{top}*")):
            raise
        sys.path.append(here)
        importlib.invalidate_caches()
        return importlib.import_module(module_name)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
