"""Libraries that only the comparison needs: imported where they are used, and one clear line when missing."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from gaprune.errors import MethodError


def needed(name: str, extra: str = "compare") -> ModuleType:
    """The module ``name``, which an extra of the package installs.

    Raises:
        MethodError: it is not installed; the message says what to install.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a library's own, about its own dependencies
            return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise MethodError(
            f'{package} is needed and cannot be imported ({error}): pip install "gaprune[{extra}]"'
        ) from error
