"""Going on with a comparison: the options it was made with, and which of them may be given anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from gaprune.cli import differences, options_from_record, options_record
from gaprune.errors import OptionError, RunError
from gaprune.runs import RunDirectory

PROG = "python -m gaprune.compare"
COMPARISONS = Path("comparisons")
KIND = "comparison"

Options = TypeVar("Options")


def resumed_options(options: Options, directory: RunDirectory, may_change: Sequence[str]) -> Options:
    """The options of a comparison on disk, with those that were typed now.

    Args:
        options: as typed, with ``given`` and ``resume``.
        directory: of the comparison.
        may_change: names of options that may differ.

    Raises:
        RunError: the directory is of no such comparison.
        OptionError: an option was typed that cannot change.
    """
    typed: Any = options
    record = directory.manifest.get("options")
    if not isinstance(record, dict) or directory.manifest.get("kind") != KIND:
        raise RunError(f"{directory.path} is no comparison: go on with a search by python -m gaprune.search --resume")
    given = [name for name in typed.given if name != "resume"]
    now = {name: value for name, value in options_record(options).items() if name in given and name not in may_change}
    apart = differences({name: record.get(name) for name in now}, now)
    if apart:
        raise OptionError(f"cannot change on resume: {'; '.join(apart)} (leave it out, or start a new comparison)")
    saved: Any = options_from_record(type(options), record)
    changed: Options = dataclasses.replace(saved, **{name: getattr(typed, name) for name in given}, resume=typed.resume)
    return changed
