"""``python -m gaprune.report``: what runs have found, as one page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from gaprune.errors import OptionError, RunError
from gaprune.options import ReportOptions
from gaprune.progress import make_reporter
from gaprune.views import REPORT, LivePage, make_server, write_report


def report(options: ReportOptions) -> None:
    """Write the page.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    _check_given_once(options.runs)
    if options.following.live:
        _serve(options)
        return
    alone = len(options.runs) == 1
    output = options.page.output or (options.runs[0] / REPORT if alone else Path(REPORT))
    damage = write_report(options.runs, output)
    make_reporter().say(f"report: {output}")
    if damage:
        raise RunError(f"the report shows what is whole: {damage[0]}")


def _serve(options: ReportOptions) -> None:
    """Serve the page until Ctrl-C, which is how it ends."""
    reporter = make_reporter()
    with make_server(LivePage(options.runs), options.following.port) as server:
        reporter.say(
            f"following {', '.join(map(str, options.runs))}: http://{server.server_address[0]!s}:{server.server_port}/"
        )
        reporter.say("Ctrl-C ends it; the search goes on")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _check_given_once(runs: tuple[Path, ...]) -> None:
    places = [path.resolve() for path in runs]
    for path, place in zip(runs, places, strict=True):
        if places.count(place) > 1:
            raise OptionError(f"{path} is given twice")
