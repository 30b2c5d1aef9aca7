"""A run directory names and holds what lies below it, and nothing else: files say paths, and links lead away."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gaprune.errors import RunError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]*")
"""Of a folder or a file that a run makes."""


def inside(text: str) -> str:
    """A path that a file of a run names, once it is known to lead below the run's directory.

    Args:
        text: such as ``front/3fa9c2e1/finetuned``; empty stands for no path.

    Raises:
        ValueError: it is absolute, leads upwards, or is no path that a run writes.

    >>> inside("front/3fa9c2e1")
    'front/3fa9c2e1'
    >>> inside("../elsewhere")
    Traceback (most recent call last):
        ...
    ValueError: the path '../elsewhere' does not lead below the directory
    """
    if not isinstance(text, str) or (text and not all(NAME.fullmatch(part) for part in text.split("/"))):
        raise ValueError(f"the path {text!r} does not lead below the directory")
    return text


def check_links(folder: Path) -> None:
    """Refuse a directory whose links lead out of it, before anything is written below.

    Args:
        folder: of a run or a comparison; may itself be a link.

    Raises:
        RunError: one line with the link and where it leads.
    """
    home = folder.resolve()
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                advice = "nothing is written outside of the directory: remove the link"
                raise RunError(f"{path} is a link to {path.resolve()}, and {advice}")
