"""``python -m gaprune.status``: where a run stands."""

from __future__ import annotations

from gaprune.options import StatusOptions
from gaprune.progress import make_reporter
from gaprune.views import status_lines


def status(options: StatusOptions) -> None:
    """Say where a run stands.

    Raises:
        RunError: there is nothing of a run in the directory.
    """
    reporter = make_reporter()
    for line in status_lines(options.run):
        reporter.say(line)
