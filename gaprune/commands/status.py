"""``python -m gaprune.status``: where a run stands, and whether it is as it was written."""

from __future__ import annotations

from pathlib import Path

from gaprune.errors import RunError
from gaprune.options import StatusOptions
from gaprune.progress import Reporter, make_reporter
from gaprune.runs import accept, differing
from gaprune.views import read_record, standing


def status(options: StatusOptions) -> None:
    """Say where a run stands.

    Raises:
        RunError: there is nothing of a run in the directory, or a file is not as it was written.
    """
    reporter, path = make_reporter(), options.run
    if options.accept:
        _accept(path, reporter)
    if options.check or options.accept:
        _check(path, reporter)
        return
    record = read_record(path)
    for line in standing(record):
        reporter.say(line)
    if record.damage:
        raise RunError(f"{path}: {_first(record.damage)}")


def _accept(path: Path, reporter: Reporter) -> None:
    for name in (taken := accept(path)):
        reporter.say(f"taken as it is: {name}")
    if not taken:
        reporter.say("nothing differed")


def _check(path: Path, reporter: Reporter) -> None:
    count, lines = differing(path)
    if not count:
        raise RunError(f"{path} has no checksums: it is of an earlier version, or holds no run")
    if lines:
        raise RunError(_first(lines))
    reporter.say(f"{count:,} files, logs and states of {path} are as they were written")


def _first(lines: list[str] | tuple[str, ...]) -> str:
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return f"{lines[0]}{more}"
