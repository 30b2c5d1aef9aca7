"""The report: one HTML file that loads nothing, put together from a run's figures and tables."""

from __future__ import annotations

import base64
import functools
import gzip
import math
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from gaprune import __version__
from gaprune.errors import RunError
from gaprune.runs import atomic_write
from gaprune.views.axes import axes_of
from gaprune.views.front_figure import series_of
from gaprune.views.layers import member_widths, shown_members, widths_figure
from gaprune.views.methods import MethodsRecord, is_comparison, read_methods
from gaprune.views.record import RunRecord, read_record
from gaprune.views.sections import Section, front_words, member_label, sections_of

REPORT = "report.html"
GENERATOR = "gaprune"
"""What the page's mark of its maker begins with: a file without it is somebody else's."""

LIVE_EVERY = 3000
"""Milliseconds between two looks of a live page."""


def read_all(paths: Sequence[Path]) -> tuple[list[RunRecord], list[MethodsRecord]]:
    """Runs and comparisons of some directories.

    Raises:
        RunError: one is neither, or none is a run.
    """
    comparisons = [path for path in paths if is_comparison(path)]
    records = [read_record(path) for path in paths if path not in comparisons]
    if not records:
        raise RunError(f"{paths[0]} is a comparison: give the run, too, that its rows are to be shown beside")
    return records, [read_methods(path) for path in comparisons]


def report_page(records: Sequence[RunRecord], methods: Sequence[MethodsRecord] = (), *, live: str = "") -> str:
    """The report as HTML.

    Args:
        records: one run or more.
        methods: comparisons beside them.
        live: what stands for the runs as they are now, in a page that follows them.
    """
    import jinja2
    from markupsafe import Markup

    sections = sections_of(records, methods)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_own("page.html.j2"))
    title = records[0].title if len(records) == 1 else f"{len(records)} runs side by side"
    return template.render(
        title=title,
        about=_about(records),
        notes=_notes(records, methods),
        sections=sections,
        axes=axes_of(records),
        members=_members(records),
        data=_data(records, methods, sections, live),
        live=bool(live),
        generator=f"{GENERATOR} {__version__}",
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
        css=Markup(_own("page.css")),
        script=Markup(_own("page.js")),
        library=_library(),
    )


def write_report(paths: Sequence[Path], output: Path) -> list[str]:
    """Write the report of some runs and comparisons.

    Returns:
        What of them is not as it was written, a line each; the report shows the rest.

    Raises:
        RunError: a directory holds no run, or the file is somebody else's or cannot be written; an old one stays.
    """
    found = read_all(paths)
    check_output(output)
    page = report_page(*found)
    try:
        atomic_write(output, page.encode())
    except OSError as error:
        raise RunError(f"cannot write {output}: {error.strerror or error}") from error
    return [f"{record.path}: {line}" for record in found[0] for line in record.damage]


def check_output(output: Path) -> None:
    """Refuse to write over what is no report of ours.

    Raises:
        RunError: one line that says what is in the way.
    """
    if output.is_dir():
        raise RunError(f"{output} is a directory: give --output a file, such as {output / REPORT}")
    if not output.parent.is_dir():
        raise RunError(f"cannot write {output}: there is no directory {output.parent}")
    if output.exists():
        try:
            with output.open("rb") as file:
                head = file.read(1024)
        except OSError as error:
            raise RunError(f"cannot read {output}: {error.strerror or error}") from error
        if f'<meta name="generator" content="{GENERATOR} '.encode() not in head:
            raise RunError(f"{output} is no report of gaprune's: choose another file")


def _about(records: Sequence[RunRecord]) -> str:
    if len(records) > 1:
        return ", ".join(str(record.path) for record in records)
    record = records[0]
    count = f"{len(record.rows)} networks on the front" if record.rows else "no front yet"
    state = "" if record.finished else "; the search has not come to its end"
    return f"{record.path}: {count}, {len(record.evaluated):,} candidates{state}"


def _notes(records: Sequence[RunRecord], methods: Sequence[MethodsRecord]) -> list[str]:
    several = len(records) > 1
    found = [f"{one.name}: {note}" if several else note for one in records for note in one.notes]
    return found + [note for one in methods for note in one.notes]


def _members(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    if len(records) > 1:
        return []
    picked = records[0].picked
    rows = shown_members(records[0])
    chosen = picked if picked in rows else (rows[len(rows) // 2] if rows else None)
    return [{"name": member_label(row), "chosen": row is chosen or row == chosen} for row in rows]


def _data(
    records: Sequence[RunRecord], methods: Sequence[MethodsRecord], sections: Sequence[Section], live: str
) -> dict[str, Any]:
    """What the page's script draws from."""
    return {
        "figures": [{"id": one.id, "figure": _finite(one.figure)} for section in sections for one in section.figures],
        "series": _finite([one.values for one in series_of(records, methods)]),
        "label": front_words(records),
        "members": _widths(records),
        "live": live,
        "every": LIVE_EVERY,
    }


def _finite(value: Any) -> Any:
    """With nothing for NaN and infinities, which JSON has no word for: a table of a front may hold them."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _widths(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What the figure of widths shows of each member."""
    found = []
    for row in shown_members(records[0]) if len(records) == 1 else ():
        traces = widths_figure(records[0], row)["data"]
        label = f"Neurons kept in each layer of {member_label(row)}. The table of layers has the numbers of the front."
        found.append({"x": [t["x"] for t in traces], "text": [member_widths(records[0], row)], "label": label})
    return found


def _own(name: str) -> str:
    return (resources.files("gaprune.views") / name).read_text(encoding="utf-8")


@functools.cache
def _library() -> str:
    """plotly.js as it comes with plotly, packed: a third of its size."""
    source = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(source, compresslevel=1, mtime=0)).decode()
