"""Fronts over any two quantities: members on search and test images, candidates, originals, other methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gaprune.errors import choice_error
from gaprune.options import LATENCY, SCORE
from gaprune.runs import FrontRow, share_left
from gaprune.views.axes import Axis, Values, axes_of, of_candidates, of_methods, of_original, of_rows
from gaprune.views.log import Evaluated
from gaprune.views.methods import MethodsRecord
from gaprune.views.provisional import standing
from gaprune.views.record import RunRecord
from gaprune.views.style import GREY, Figure, colour, dash, figure, symbol

MOST_CANDIDATES = 4000
"""Candidates of a run that are drawn, evenly over the search, so that a page stays small."""


@dataclass(frozen=True)
class Series:
    """Points that are drawn alike.

    Attributes:
        name: in the legend.
        style: of the trace.
        values: by axis, one a point.
        texts: what is shown of each point.
    """

    name: str
    style: dict[str, Any]
    values: dict[str, Values]
    texts: list[str]


def front_figure(
    records: Sequence[RunRecord],
    methods: Sequence[MethodsRecord] = (),
    *,
    x: str = "flops",
    y: str | None = None,
    log: bool = False,
) -> Figure:
    """The fronts of runs.

    Args:
        records: the runs.
        methods: comparisons, whose rows are drawn beside them.
        x: what lies on the horizontal axis: ``accuracy``, ``flops``, ``params``, ``size`` or another objective.
        y: what lies on the vertical axis; none is what the networks are judged by.
        log: whether the horizontal axis is logarithmic.

    Raises:
        OptionError: a run knows no such quantity; those that there are are listed.
    """
    known = {axis.name: axis for axis in axes_of(records)}
    y = next((axis for axis in known), "accuracy") if y is None else y
    for wanted in (x, y):
        if wanted not in known:
            raise choice_error("axis", wanted, tuple(known))
    data = [
        {
            "type": "scatter",
            "name": one.name,
            "x": one.values[x],
            "y": one.values[y],
            "text": one.texts,
            "hovertemplate": "%{text}<extra></extra>",
            **one.style,
        }
        for one in series_of(records, methods)
    ]
    scale = {"type": "log" if log else "linear"}
    return figure(data, known[x].label, known[y].label, height=520, xaxis=scale)


def series_of(records: Sequence[RunRecord], methods: Sequence[MethodsRecord] = ()) -> list[Series]:
    """All points of runs and comparisons, with their values on every axis."""
    axes = axes_of(records)
    alone = len(records) == 1
    found = []
    for place, record in enumerate(records):
        found += list(_of_run(record, place, axes, "" if alone else f"{record.name}: ", alone))
    for number, one in enumerate(methods):
        texts = [f"{method.name}: {100 * method.accuracy:.2f}% on the test set" for method in one.methods]
        marker = {
            "symbol": "diamond-tall-open",
            "size": 10,
            "color": colour(len(records) + number),
            "line": {"width": 2},
        }
        values = {axis.name: of_methods(one.methods, axis) for axis in axes}
        found.append(Series(f"other methods ({one.path.name})", {"mode": "markers", "marker": marker}, values, texts))
    return [one for one in found if one.texts]


def _of_run(record: RunRecord, place: int, axes: Sequence[Axis], prefix: str, alone: bool) -> Iterator[Series]:
    hue, mark, on = colour(place), symbol(place), record.shown_on
    thinned = _thinned([one for one in record.evaluated if one.failure is None and not one.bound])
    yield _candidates(
        record,
        thinned,
        axes,
        f"{prefix}candidates, search {on}",
        {
            "mode": "markers",
            "marker": {"symbol": mark, "size": 5, "color": GREY, "opacity": 0.45},
            "visible": True if alone else "legendonly",
        },
    )
    if not record.rows:
        style = {"mode": "lines+markers", "line": {"color": hue, "dash": dash(place)}, "marker": {"symbol": mark}}
        yield _candidates(record, standing(record), axes, f"{prefix}front so far, search {on}", style)
    line = {"color": hue, "dash": dash(place), "width": 2}
    yield _members(
        record,
        record.rows,
        axes,
        f"{prefix}front, search {on}",
        {"mode": "lines+markers", "line": line, "marker": {"symbol": mark, "size": 8, "color": hue}},
    )
    open_marker = {"symbol": f"{mark}-open", "size": 9, "color": hue, "line": {"width": 2}}
    tested = [row for row in record.rows if row.test_accuracy is not None]
    style = {"mode": "markers", "marker": open_marker}
    yield _members(record, tested, axes, f"{prefix}front, test {on}", style, tested=True)
    trained = [row.untrained() for row in record.rows if row.trained_epochs]
    faint = {"mode": "markers", "marker": {"symbol": "x-thin-open", "size": 8, "color": hue, "line": {"width": 2}}}
    yield _members(record, trained, axes, f"{prefix}before fine-tuning, search {on}", faint)
    yield from _marked(record, axes, prefix, hue)


def _marked(record: RunRecord, axes: Sequence[Axis], prefix: str, hue: str) -> Iterator[Series]:
    """The original and the picked member."""
    original, on = record.original, record.shown_on
    if original is not None:
        for tested, where in ((False, "search"), (True, "test")):
            values = {axis.name: of_original(record, original, axis, tested=tested) for axis in axes}
            reached = original.test_accuracy if tested else original.search_accuracy
            if reached is None:
                continue
            symbol = "star-open" if tested else "star"
            style = {"mode": "markers", "marker": {"symbol": symbol, "size": 15, "color": hue, "line": {"width": 1.5}}}
            text = f"original: {record.in_words(reached)} on {where} {on}, {original.flops / 1e6:,.1f} M FLOPs"
            yield Series(f"{prefix}original, {where} {on}", style, values, [text])
    if record.picked is not None:
        ring = {"symbol": "circle-open", "size": 17, "color": hue, "line": {"width": 2.5}}
        style = {"mode": "markers", "marker": ring}
        yield _members(record, [record.picked], axes, f"{prefix}picked", style)


def _candidates(
    record: RunRecord, chosen: Sequence[Evaluated], axes: Sequence[Axis], name: str, style: dict[str, Any]
) -> Series:
    values = {axis.name: of_candidates(record, axis, (one.values for one in chosen)) for axis in axes}
    return Series(name, style, values, [_candidate_text(record, one) for one in chosen])


def _members(
    record: RunRecord,
    rows: Sequence[FrontRow],
    axes: Sequence[Axis],
    name: str,
    style: dict[str, Any],
    *,
    tested: bool = False,
) -> Series:
    values = {axis.name: of_rows(record, rows, axis, tested=tested) for axis in axes}
    return Series(name, style, values, [member_text(record, row) for row in rows])


def member_text(record: RunRecord, row: FrontRow) -> str:
    """A member's numbers on one line."""
    tested = "" if row.test_accuracy is None else f", {record.in_words(row.test_accuracy)} test"
    timed = "" if row.latency is None else f", {1e3 * row.latency:.3g} ms"
    found = {**row.objectives, **row.attacked}
    others = "".join(f", {name} {value:.4g}" for name, value in found.items() if name not in _SHOWN)
    return (
        f"member {row.index} ({row.name}): {record.in_words(row.search_accuracy)} search{tested}; "
        f"{share_left(row.flops_share)}% of FLOPs, {share_left(row.params_share)}% of parameters, "
        f"{row.size_mb:.2f} MB{timed}{others}"
    )


_SHOWN = ("accuracy", SCORE, "flops", "params", "size", LATENCY)


def _candidate_text(record: RunRecord, one: Evaluated) -> str:
    parts = [f"{name} {value:.4g}" for name, value in one.values.items()]
    where = f"{one.part}, generation {one.generation}" if one.part else f"generation {one.generation}"
    return f"candidate {one.key[:8]} ({where}): {', '.join(parts)}"


def _thinned(evaluated: Sequence[Evaluated]) -> list[Evaluated]:
    step = max(1, -(-len(evaluated) // MOST_CANDIDATES))
    return list(evaluated[::step])
