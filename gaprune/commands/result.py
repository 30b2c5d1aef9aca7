"""What a finished search hands back, and how it is shown."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from gaprune.errors import OptionError, first_line
from gaprune.front import CSV, PICTURE
from gaprune.options import LATENCY, imports
from gaprune.progress import Reporter, duration, show
from gaprune.runs import (
    MEGABYTE,
    SECONDS,
    FrontRow,
    RunDirectory,
    Timed,
    frame,
    front_table,
    in_words,
    members,
    plain_table,
    points_lost,
    read_manifest,
    row_values,
    score_lost,
    share_left,
)
from gaprune.runs import Baseline as Original
from gaprune.saved import load
from gaprune.session import SECONDS_OF_ORIGINAL, score_name
from gaprune.views import REPORT, write_report

if TYPE_CHECKING:
    from rich.table import Table


_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class SearchResult:
    """A finished search. Printed, it is the table of its front.

    Attributes:
        path: the run directory.
        rows: the front, fewest FLOPs first: accuracies, FLOPs, parameters, place on disk.
        picked: the row that ``pick`` marks; ``None`` when no row satisfies it.
        model: the network that was given as an object, or the ``package.module:factory`` that was named, if either was.
        satisfied: whether the rows keep to the constraints; if not, they are what comes nearest.
        original: what the network reaches and costs that was searched; ``None`` where that is not known.
        seconds: wall time of the search over all sessions; ``None`` where it is not known.
        candidates: how many were evaluated; ``None`` where it is not known.
        timed: under which conditions the rows were timed, and what the original took; ``None`` where nobody asked.
        score: what a task of one's own calls its score, which stands in place of accuracies; ``None`` without a task.
    """

    path: Path
    rows: list[FrontRow]
    picked: FrontRow | None
    model: nn.Module | str | None = None
    satisfied: bool = True
    original: Original | None = None
    seconds: float | None = None
    candidates: int | None = None
    timed: Timed | None = None
    score: str | None = None

    @classmethod
    def of_run(
        cls, run: RunDirectory, rows: list[FrontRow], picked: FrontRow | None, form: nn.Module | str, satisfied: bool
    ) -> SearchResult:
        """With what the manifest of a run says, and what its members are loaded onto."""
        manifest = run.manifest
        original, seconds, candidates = (manifest.get(name) for name in ("original", SECONDS, "evaluations"))
        known = Original.of(original)
        how = manifest.get(LATENCY)
        timed = None if how is None else Timed(in_words(how), float(how[SECONDS_OF_ORIGINAL]))
        model = form if not isinstance(form, str) or imports(form) else None
        return cls(run.path, rows, picked, model, satisfied, known, seconds, candidates, timed, score_name(manifest))

    def load(self, row: FrontRow | int | str | None = None) -> nn.Module:
        """The compact network of a row, or of its index or name; of the picked one by default.

        Raises:
            OptionError: there is no such member, or nothing is picked.
        """
        chosen = self.picked if row is None else row if isinstance(row, FrontRow) else self._row(row)
        if chosen is None:
            raise OptionError("no member satisfies the pick: name one by its index")
        return load(self.path / chosen.path, model=self.model)

    def _row(self, named: int | str) -> FrontRow:
        if isinstance(named, int):
            if not -len(self.rows) <= named < len(self.rows):
                raise OptionError(f"the front of {self.path} has {len(self.rows)} members, none with index {named}")
            return self.rows[named]
        found = members(self.rows, named)
        if len(found) != 1:
            raise OptionError(f"the front of {self.path} has no member {named}")
        return found[0]

    def frame(self) -> Any:
        """The front as a ``pandas.DataFrame``, a row a member, by name.

        Raises:
            OptionError: pandas is not installed.
        """
        records = [row_values(row, self.original) for row in self.rows]
        return frame(records, "name", f"{self.path / CSV} holds the same")

    def __repr__(self) -> str:
        """One line."""
        count = "1 network" if len(self.rows) == 1 else f"{len(self.rows)} networks"
        picked = "none" if self.picked is None else self.picked.name
        return f"<SearchResult {str(self.path)!r}: {count}, picked: {picked}>"

    def __str__(self) -> str:
        """The table of the front."""
        return plain_table(self.rows, **self._shown())

    def __rich__(self) -> Table:
        """The table of the front."""
        return front_table(self.rows, **self._shown())

    def _shown(self) -> dict[str, Any]:
        """What a table says besides the rows."""
        return {"baseline": self.original, "picked": self.picked, "timed": self.timed, "score": self.score}

    def _repr_markdown_(self) -> str:
        """The table of the front, for notebooks."""
        return str(self)


def show_front(result: SearchResult, reporter: Reporter, *, every: bool = False) -> None:
    """Show the table of a front.

    Args:
        result: what was found.
        reporter: where to.
        every: whether to show all rows of a long front.
    """
    shown = result._shown()
    drawn = front_table(result.rows, every=every, **shown)
    show(reporter, drawn, plain_table(result.rows, every=every, **shown))


def show_result(result: SearchResult, reporter: Reporter, *, every: bool = False) -> None:
    """Say what a search has found, what it took, and where it lies.

    Args:
        result: what was found.
        reporter: where to.
        every: whether to show all rows of a long front.
    """
    show_front(result, reporter, every=every)
    if result.seconds is not None and result.candidates is not None:
        took = duration(result.seconds)
        reporter.say(f"took: {took} for {result.candidates:,} candidates, statistics and front included")
    reporter.say(f"run: {result.path}")
    size = bytes_of(result.path) / MEGABYTE
    report = f", report: {result.path / REPORT}" if (result.path / REPORT).exists() else ""
    table = f"table: {result.path / CSV}, picture: {result.path / PICTURE}{report}"
    reporter.say(f"{table}; {size:,.0f} MB on disk with all networks and what resuming needs")
    if result.picked is not None:
        rule = read_manifest(result.path)["options"]["pick"]
        reporter.say(f"picked ({rule}): {described(result, result.picked)}")


def described(result: SearchResult, row: FrontRow) -> str:
    """A member in one line: its index and name, what it loses, what it costs, how it is loaded."""
    parts = [f"member {row.index}"]
    change = _change(result, row)
    if change is not None:
        parts.append(f"{change} with {share_left(row.flops_share)}% of the FLOPs")
    if row.latency is not None and row.latency_share is not None:
        parts.append(f"takes {1e3 * row.latency:.3g} ms, {share_left(row.latency_share)}% of the time")
    named = repr(result.model) if isinstance(result.model, str) else "model"
    model = f", model={named}" if result.model is not None else ""
    return ", ".join([*parts, f'gaprune.load("{result.path / row.path}"{model})'])


def _change(result: SearchResult, row: FrontRow) -> str | None:
    """What a member loses or gains, in words; ``None`` where that is not known."""
    if result.original is None:
        return None
    lost = points_lost(row, result.original) if result.score is None else score_lost(row, result.original)
    if lost is None:
        return None
    verb = "gains" if lost < 0 else "loses"
    return (
        f"{verb} {abs(lost):.2f} points of test accuracy"
        if result.score is None
        else (f"{verb} {abs(lost):.4g} of {result.score}")
    )


def report_of(path: Path, reporter: Reporter) -> None:
    """Write the report of a run that is finished. That it fails is told, and takes nothing from what was found."""
    try:
        write_report([path], path / REPORT)
    except Exception as error:  # whatever it is, the front is saved
        _log.debug("no report", exc_info=True)
        with suppress(OSError):
            (path / REPORT).unlink()  # an older one would be of another front
        reporter.say(f"no report was written: {type(error).__name__}: {first_line(error)}")


def bytes_of(path: Path) -> int:
    """What the files in a directory take."""
    return sum(os.path.getsize(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)
