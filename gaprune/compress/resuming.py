"""Going on with a comparison: the options it was made with, and which of them may be given anew."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gaprune.errors import OptionError, RunError
from gaprune.options import (
    AUTO,
    TEXT_MODEL,
    UNRECORDED,
    check_run_trusted,
    differences,
    named_again,
    options_from_record,
    options_record,
    typed_command,
    with_known_data,
)
from gaprune.runs import RunDirectory

PROG = "python -m gaprune.compare"
COMPARISONS = Path("comparisons")
KIND = "comparison"

Options = TypeVar("Options")


def resumed_options(
    options: Options,
    directory: RunDirectory,
    may_change: Sequence[str],
    usual: Callable[[Options, Options], Sequence[str]],
) -> Options:
    """The options of a comparison on disk, with those that were typed now; chains that are typed are added to its own.

    Args:
        options: as typed, with ``given`` and ``resume``.
        directory: of the comparison.
        may_change: names of options that may differ.
        usual: from the saved options and those of now to the chains of a comparison that was begun without naming any.

    Raises:
        RunError: the directory is of no such comparison, or of one of the other kind of networks.
        OptionError: an option was typed that cannot change.
    """
    typed: Any = options
    record = directory.manifest.get("options")
    if not isinstance(record, dict) or directory.manifest.get("kind") != KIND:
        raise RunError(f"{directory.path} is no comparison: go on with a search by python -m gaprune.search --resume")
    check_run_trusted(record, directory.path, typed.given, trust=getattr(typed, "trust", False))
    record = _settled(record, directory.manifest)
    given = [name for name in typed.given if name not in UNRECORDED and (name, getattr(typed, name)) != ("data", AUTO)]
    now = {name: value for name, value in options_record(options).items() if name in given and name not in may_change}
    apart = differences({name: record.get(name) for name in now}, now)
    if apart:
        raise OptionError(f"cannot change on resume: {'; '.join(apart)} (leave it out, or start a new comparison)")
    if (record.get("model") == TEXT_MODEL) != (typed.model == TEXT_MODEL):
        other = "gaprune.text.compare" if record.get("model") == TEXT_MODEL else "gaprune.compare"
        raise RunError(f"{directory.path} compares {record.get('model')}: {other} goes on with it")
    saved: Any = options_from_record(type(options), record)
    changed: Any = saved.but(
        **{name: getattr(typed, name) for name in given}, resume=typed.table.resume, **vars(typed.screen)
    )
    if "methods" in given:
        before = usual(saved, changed) if saved.methods is None else saved.methods
        changed = changed.but(methods=tuple(dict.fromkeys((*before, *typed.methods))))
    resumed: Options = changed
    return resumed


def _settled(record: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded options with the data and the number of threads that were found where nobody said."""
    record = with_known_data(record, manifest)
    threads = manifest.get("identity", {}).get("threads")
    return record if record.get("threads") is not None or threads is None else {**record, "threads": threads}


def again_command(options: Any, path: Path | None) -> str:
    """What to type to go on with a comparison that was stopped.

    Args:
        options: as typed.
        path: of its directory; nothing is there yet, or ``None``, where it was stopped early.
    """
    if options.table.resume is not None:
        return typed_command(PROG, options.but(given=options.given | {"resume"}))
    known = path is not None and path.exists()
    if not known:
        return typed_command(PROG, options)
    return " ".join([f"{PROG} --resume {shlex.quote(str(path))}", *named_again({"model": options.network.model})])


def check_identity(directory: RunDirectory, identity: dict[str, Any], later: Collection[str] = ()) -> None:
    """Refuse to add rows to a comparison whose own were made of something else.

    Args:
        directory: of the comparison.
        identity: what rows that are made now have in common.
        later: names that manifests of earlier versions lack; where one does, it is not compared.

    Raises:
        RunError: something is not as it was; what, is told.
    """
    before = directory.manifest.get("identity", {})
    apart = differences(before, {name: now for name, now in identity.items() if name in before or name not in later})
    if apart:
        raise RunError(f"{directory.path} was made with other weights, data or device: {'; '.join(apart)}")
