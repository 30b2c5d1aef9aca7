"""``python -m gaprune.report``: what runs have found, as one page."""

from __future__ import annotations

from pathlib import Path

from gaprune.errors import OptionError
from gaprune.options import ReportOptions
from gaprune.progress import make_reporter
from gaprune.views import REPORT, write_report


def report(options: ReportOptions) -> None:
    """Write the page.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    _check_given_once(options.runs)
    alone = len(options.runs) == 1
    output = options.page.output or (options.runs[0] / REPORT if alone else Path(REPORT))
    write_report(options.runs, output)
    make_reporter().say(f"report: {output}")


def _check_given_once(runs: tuple[Path, ...]) -> None:
    places = [path.resolve() for path in runs]
    for path, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise OptionError(f"{path} is given twice")
