"""What ``python -m gaprune.report`` and ``python -m gaprune.status`` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from gaprune.errors import OptionError
from gaprune.options.fields import Options, argument, check_fields, group, option

LARGEST_PORT = 65535


@dataclass(frozen=True)
class PageOptions:
    """The file that is written."""

    output: Path | None = option(
        None, "the page; none is report.html in the run, or in the current folder for several", metavar="FILE"
    )


@dataclass(frozen=True)
class LiveOptions:
    """A page that follows a search."""

    live: bool = option(False, "write nothing, but serve the page on 127.0.0.1 and follow the search until Ctrl-C")
    port: int = option(0, "with live: port of the page; 0 is one that is free", least=0, most=LARGEST_PORT)


@dataclass(frozen=True)
class ReportOptions(Options):
    """Write what a search has found as one HTML page that needs no network.

    Several runs are shown side by side, those that differ in nothing but their seed as a band. A directory that
    gaprune.compare has made adds its methods.
    """

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "python -m gaprune.report runs/half",
        "python -m gaprune.report runs/seed0 runs/seed1 runs/seed2 --output seeds.html",
        "python -m gaprune.report runs/half comparisons/half --output methods.html",
        "python -m gaprune.report runs/half --live",
    )

    runs: tuple[Path, ...] = argument("one run directory or more, finished or not", metavar="RUN...")
    page: PageOptions = group(PageOptions, "page")
    following: LiveOptions = group(LiveOptions, "live")
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        check_fields(self)
        if self.following.live and self.page.output is not None:
            raise OptionError("output has no meaning with --live: the page is served, and nothing is written")
        if "port" in self.given and not self.following.live:
            raise OptionError("port says nothing without --live")


@dataclass(frozen=True)
class StatusOptions(Options):
    """Say where a run stands, without touching it: who is at it, how far it is, what it has found."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ("python -m gaprune.status runs/half",)

    run: Path = argument("a run directory, whether or not a search is at it", metavar="RUN")
    check: bool = option(False, "read every file, networks too, and say what is not as it was written")
    accept: bool = option(False, "take the files as they are by now, though they are not as they were written")
