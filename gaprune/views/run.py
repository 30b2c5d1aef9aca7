"""A run for notebooks: its front and evaluations as frames, and the figures of its report."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.kinds import PATH, SWITCH, check
from gaprune.runs import FrontRow, frame, row_values
from gaprune.views.attainment import attainment_figure, bands
from gaprune.views.front_figure import front_figure
from gaprune.views.layers import map_figure, shown_members, widths_figure
from gaprune.views.log import Evaluated
from gaprune.views.page import REPORT, report_page, write_report
from gaprune.views.progress import accuracy_figure, hypervolume_figure, time_figure
from gaprune.views.record import RunRecord, read_record


class Run:
    """A run directory, read and never written but for ``report``; of a search that is finished or at work.

    Args:
        path: the run directory.
        damaged: take what is whole of a run that is not as it was written.

    Raises:
        RunError: there is nothing of a run in it, or a file is not as it was written.

    Attributes:
        path: the run directory.
        record: what was read, when this was made.
    """

    def __init__(self, path: str | Path, *, damaged: bool = False) -> None:
        check({"path": (path, PATH), "damaged": (damaged, SWITCH)})
        self.path = Path(path)
        self.record: RunRecord = read_record(self.path)
        if self.record.damage and not damaged:
            raise RunError(f"{self.path}: {self.record.damage[0]} (Run(path, damaged=True) takes what is whole)")

    @property
    def rows(self) -> list[FrontRow]:
        """The front that is saved, fewest FLOPs first; empty as long as there is none."""
        return list(self.record.rows)

    @cached_property
    def evaluated(self) -> list[Evaluated]:
        """Every candidate, oldest first."""
        return list(self.record.evaluated)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run was made with."""
        return self.record.manifest

    def front(self) -> Any:
        """The front as a ``pandas.DataFrame``, a row a member, by name.

        Raises:
            OptionError: pandas is not installed.
        """
        records = [row_values(row, self.record.original) for row in self.record.rows]
        return frame(records, "name", f"{self.path / 'front.csv'} holds the same")

    def evaluations(self) -> Any:
        """Every candidate as a ``pandas.DataFrame``, a row each, by its genome's key.

        Raises:
            OptionError: pandas is not installed.
        """
        records = [
            {
                "key": one.key,
                "part": one.part,
                "generation": one.generation,
                **one.values,
                **{f"minimised_{name}": value for name, value in one.minimised.items()},
                "seconds": one.seconds,
                "stopped_early": one.bound,
                "failure": one.failure,
                "violation": one.violation,
            }
            for one in self.evaluated
        ]
        return frame(records, "key", f"{self.path / 'evaluations.jsonl'} holds the same")

    def plot(self, x: str = "flops", y: str | None = None, *, log: bool = False, beside: tuple[Run, ...] = ()) -> Any:
        """The front as a ``plotly`` figure, which a notebook shows.

        Args:
            x: what lies on the horizontal axis: ``accuracy``, ``flops``, ``params``, ``size`` or another objective.
            y: what lies on the vertical axis; none is what networks are judged by.
            log: whether the horizontal axis is logarithmic.
            beside: further runs in the same figure.

        Raises:
            OptionError: there is no such quantity.
        """
        return _figure(front_figure([self.record, *(one.record for one in beside)], x=x, y=y, log=log))

    def plot_progress(self) -> Any:
        """The hypervolume over evaluations."""
        return _figure(hypervolume_figure([self.record]))

    def plot_budgets(self) -> Any:
        """The best accuracy per budget over evaluations."""
        return _figure(accuracy_figure([self.record]))

    def plot_time(self) -> Any:
        """Seconds of evaluations by generation."""
        return _figure(time_figure(self.record))

    def plot_layers(self, row: FrontRow | None = None) -> Any:
        """What members keep of each layer: one of them against the ladder, or all of the front as a map."""
        chosen = map_figure(self.record) if row is None else widths_figure(self.record, row)
        return _figure(chosen)

    def plot_seeds(self, *others: Run) -> Any:
        """Attainment bands over this run and others that differ in nothing but their seed."""
        return _figure(attainment_figure(bands([self.record, *(one.record for one in others)])))

    def report(self, output: str | Path | None = None) -> Path:
        """Write the report; its path.

        Args:
            output: the file; by default ``report.html`` in the run.

        Raises:
            RunError: it cannot be written.
        """
        file = self.path / REPORT if output is None else Path(output)
        write_report([self.path], file)
        return file

    def page(self) -> str:
        """The report as text."""
        return report_page([self.record])

    def __repr__(self) -> str:
        """One line."""
        members, candidates = len(self.record.rows), len(self.record.evaluated)
        shown = len(shown_members(self.record))
        widths = "" if shown == members else f", widths of {shown}"
        return f"<Run {str(self.path)!r}: {members} networks on the front{widths}, {candidates:,} candidates>"


def _figure(made: dict[str, Any]) -> Any:
    from plotly.graph_objects import Figure

    return Figure(made)
