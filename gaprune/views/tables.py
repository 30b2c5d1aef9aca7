"""The tables of a report, as headings and rows of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gaprune.options import LATENCY, ROBUSTNESS, SCORE, UNDER_ATTACK, SearchOptions
from gaprune.options import record as recorded
from gaprune.runs import (
    SECONDS,
    STAGES,
    FrontRow,
    best_of,
    fact,
    in_words,
    numbers,
    plain_number,
    points_lost,
    score_lost,
    share_left,
)
from gaprune.views.axes import attack_words
from gaprune.views.layers import shrinking
from gaprune.views.methods import MethodsRecord
from gaprune.views.progress import BUDGETS, generation_times
from gaprune.views.record import RunRecord

USUAL = ("accuracy", SCORE, "flops", "params", "size")
"""Objectives that have a column of their own."""


@dataclass(frozen=True)
class Table:
    """Text in rows.

    Attributes:
        caption: what it shows.
        headings: one a column.
        rows: of cells; the first names the row.
        marked: rows that stand out: in words beside them, so that nothing hangs on colour.
        words: columns of words; the others are numbers, to the right.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset({0})


def percent(share: float | None, places: int = 2) -> str:
    """A share in percent; a dash for none."""
    return "-" if share is None else f"{100 * share:.{places}f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def budgets_table(records: Sequence[RunRecord]) -> Table:
    """The best member on the search set within each budget of FLOPs."""
    extra = other_objectives(records)
    several = len(records) > 1
    rows = []
    for budget in BUDGETS:
        for record in records:
            within = [row for row in record.rows if row.flops_share <= budget]
            best = best_of(within, record.rows) if within else None
            run = (record.name,) if several else ()
            cells = _member_cells(record, best, extra) if best else ("-",) * (8 + len(extra))
            rows.append((f"{budget:.0%}", *run, *cells))
    headings = ("FLOPs within", *(("run",) if several else ()), *_member_headings(records, extra))
    words = frozenset({0, 1, 2} if several else {0, 1})
    return Table(f"The {_best(records)} within a budget of FLOPs", headings, tuple(rows), words=words)


def _best(records: Sequence[RunRecord]) -> str:
    images = all(record.score is None for record in records)
    return f"best member on search {'images' if images else 'data'}"


def members_table(record: RunRecord) -> Table:
    """Every member of the front."""
    extra = other_objectives([record])
    picked = None if record.picked is None else record.picked.index
    rows = [
        (f"{row.index}{' (picked)' if row.index == picked else ''}", *_member_cells(record, row, extra))
        for row in record.rows
    ]
    marked = frozenset(place for place, row in enumerate(record.rows) if row.index == picked)
    headings = ("index", *_member_headings([record], extra))
    how = fact(record.manifest, LATENCY, kind=dict)
    title = "All members of the front" + (f" (latency: {in_words(how)})" if how else "")
    return Table(title, headings, tuple(rows), marked, frozenset({0, 1}))


def other_objectives(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """What was measured of members and has no column anyway: other objectives, latency, accuracy under attack."""
    found: dict[str, None] = {}
    for row in (row for one in records for row in one.rows):
        timed = (LATENCY,) if row.latency is not None else ()
        found |= dict.fromkeys(name for name in (*row.objectives, *timed, *row.attacked) if name not in USUAL)
    return tuple(found)


def other_words(name: str) -> str:
    """The heading of such a column, with the unit."""
    if name == LATENCY:
        return "latency ms"
    if name in UNDER_ATTACK:
        return f"{attack_words(name)} %"
    return f"{name} %" if name == ROBUSTNESS else name.replace("_", " ")


def other_value(row: FrontRow, name: str) -> str:
    """A member's value in it; a dash where there is none."""
    value = row.latency if name == LATENCY and row.latency is not None else row.objectives.get(name)
    if value is None:
        value = row.attacked.get(name)
    if value is None:
        return "-"
    if name == LATENCY:
        return f"{1e3 * value:.3g}"
    return percent(value) if name == ROBUSTNESS or name in UNDER_ATTACK else f"{value:.4g}"


def _member_headings(records: Sequence[RunRecord], extra: Sequence[str]) -> tuple[str, ...]:
    others = map(other_words, extra)
    scores = list(dict.fromkeys(record.score for record in records))
    judged = ("search %", "test %", "points lost")
    if scores != [None]:
        names = " or ".join(score or "accuracy" for score in scores)
        judged = (f"{names}, search", f"{names}, test", "lost")
    return ("member", *judged, "FLOPs left %", "params", "params left %", "MB", *others)


def _member_cells(record: RunRecord, row: FrontRow, extra: Sequence[str]) -> tuple[str, ...]:
    shown = percent if record.score is None else _number
    lost = None
    if record.original is not None:
        lost = (points_lost if record.score is None else score_lost)(row, record.original)
    return (
        row.name,
        shown(row.search_accuracy),
        shown(row.test_accuracy),
        "-" if lost is None else f"{lost:.2f}" if record.score is None else _number(lost),
        share_left(row.flops_share),
        plain_number(row.params),
        share_left(row.params_share),
        f"{row.size_mb:.2f}",
        *(other_value(row, name) for name in extra),
    )


def methods_table(methods: Sequence[MethodsRecord]) -> Table:
    """The rows of comparisons."""
    rows = [
        (one.name, percent(one.accuracy), *(percent(one.shares.get(cost)) for cost in ("flops", "params", "size")))
        for record in methods
        for one in record.methods
    ]
    return Table("Other methods", ("method", "test %", "FLOPs left %", "params left %", "size left %"), tuple(rows))


def shrinking_table(record: RunRecord) -> Table:
    """Layers, those that shrink first at the head."""
    rows = [
        (
            one.layer.name,
            str(one.layer.size),
            "never" if one.half_at is None else share_left(one.half_at),
            percent(one.mean, 1),
            percent(one.least, 1),
        )
        for one in shrinking(record)
    ]
    headings = ("layer", "neurons", "below half at FLOPs left %", "kept on average %", "least kept %")
    return Table("Layers in the order in which they shrink, over the members of the front", headings, tuple(rows))


def failures_table(record: RunRecord) -> Table:
    """How candidates ended, with the reasons of those that failed."""
    counts = {
        "measured to the end": sum(one.failure is None and not one.bound for one in record.evaluated),
        "stopped early, as no longer able to reach the front": sum(one.bound for one in record.evaluated),
        "do not keep to the constraints": sum(one.failure is None and one.violation > 0 for one in record.evaluated),
    }
    reasons = Counter(one.failure for one in record.evaluated if one.failure is not None)
    rows = [(words, f"{count:,}") for words, count in counts.items()]
    rows += [(f"failed: {reason}", f"{count:,}") for reason, count in reasons.most_common()]
    if not reasons:
        rows.append(("failed", "0"))
    return Table("How candidates ended", ("candidates", "number"), tuple(rows))


def time_table(record: RunRecord) -> Table:
    """Where the wall time went, as far as it was noted."""
    evaluations = sum(one.seconds for one in generation_times(record))
    stages = numbers(fact(record.manifest, STAGES, kind=dict))
    wall = fact(record.manifest, SECONDS, kind=float)
    rows = [(name, f"{seconds:,.1f}") for name, seconds in stages.items()]
    rows.append(("evaluations, added up over all workers", f"{evaluations:,.1f}"))
    if wall is not None:
        rows.append(("wall time of everything, over all sessions", f"{wall:,.1f}"))
    return Table("Where time went", ("part", "seconds"), tuple(rows))


def settings_table(records: Sequence[RunRecord], *, every: bool) -> Table:
    """Options of runs: of one those that are no default, or all; of several those that differ, or all.

    Rows in which runs differ are marked.
    """
    defaults = recorded(SearchOptions())
    names = list(dict.fromkeys(name for one in records for name in one.options))
    rows: list[tuple[str, ...]] = []
    marked: set[int] = set()
    for name in names:
        values = [one.options.get(name, _MISSING) for one in records]
        differ = any(value != values[0] for value in values)
        own = values[0] != defaults.get(name, _MISSING)
        if every or (differ if len(records) > 1 else own):
            if differ:
                marked.add(len(rows))
            note = ("differs" if differ else "",) if len(records) > 1 else (shown(defaults.get(name, _MISSING)),)
            rows.append((name.replace("_", "-"), *map(shown, values), *note))
    columns = [one.name for one in records] if len(records) > 1 else ["value"]
    last = "" if len(records) > 1 else "default"
    caption = "All options" if every else ("Options that differ" if len(records) > 1 else "Options that are no default")
    places = frozenset(range(len(columns) + 2))
    return Table(caption, ("option", *columns, last or "differs"), tuple(rows), frozenset(marked), places)


def made_with_table(records: Sequence[RunRecord]) -> Table:
    """What runs were made with: data, hardware, versions. Rows in which they differ are marked."""
    facts = [_made_with(one.manifest) for one in records]
    rows: list[tuple[str, ...]] = []
    marked: set[int] = set()
    for name in dict.fromkeys(name for one in facts for name in one):
        values = [one.get(name, "-") for one in facts]
        if len(set(values)) > 1:
            marked.add(len(rows))
        rows.append((name, *values))
    columns = [one.name for one in records] if len(records) > 1 else ["value"]
    places = frozenset(range(len(columns) + 1))
    return Table("Data, hardware and versions", ("what", *columns), tuple(rows), frozenset(marked), places)


def _made_with(manifest: Mapping[str, Any]) -> dict[str, str]:
    named = {
        "network": ("model", "name"),
        "weights": ("baseline",),
        "data": ("data", "name"),
        "from": ("data", "source"),
        "device": ("device",),
        "precision": ("precision",),
        "date": ("environment", "date"),
        "processor": ("environment", "cpu"),
        "platform": ("environment", "platform"),
    }
    found = {label: value for label, names in named.items() if (value := fact(manifest, *names, kind=str))}
    threads = fact(manifest, "threads", kind=int)
    if threads is not None:
        found["threads"] = str(threads)
    versions = fact(manifest, "environment", "versions", kind=dict) or {}
    return found | {f"version of {name}": str(version) for name, version in versions.items() if version is not None}


class _Missing:
    def __repr__(self) -> str:
        return "-"


_MISSING = _Missing()


def shown(value: Any) -> str:
    """An option's value as one would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
