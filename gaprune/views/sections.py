"""What a report has to say, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaprune.options import LATENCY
from gaprune.runs import FLOPS_NOTE, FrontRow, fact, points_lost, score_lost, share_left
from gaprune.views.attainment import attainment_figure, bands
from gaprune.views.front_figure import front_figure
from gaprune.views.layers import map_figure, shown_members, shrinking, widths_figure
from gaprune.views.methods import MethodsRecord
from gaprune.views.progress import accuracy_figure, hypervolume_figure, time_figure
from gaprune.views.record import RunRecord
from gaprune.views.repeat import export_command, load_code, repeat_command, resume_command
from gaprune.views.style import Figure
from gaprune.views.tables import (
    Table,
    budgets_table,
    failures_table,
    made_with_table,
    members_table,
    methods_table,
    settings_table,
    shrinking_table,
    time_table,
)


@dataclass(frozen=True)
class Drawn:
    """A figure with its words.

    Attributes:
        id: in the page.
        figure: as plotly.js takes it.
        label: what it shows, for who does not see it.
        caption: below it.
    """

    id: str
    figure: Figure
    label: str
    caption: str


@dataclass(frozen=True)
class Code:
    """Something to type."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page, in the order in which it is shown; ``folded`` tables open on a click."""

    id: str
    title: str
    texts: tuple[str, ...] = ()
    figures: tuple[Drawn, ...] = ()
    codes: tuple[Code, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()


def sections_of(records: Sequence[RunRecord], methods: Sequence[MethodsRecord]) -> list[Section]:
    """The report of one run or several; what there is nothing to say of is left out."""
    found = [_front(records, methods), _budgets(records), *_bands(records), _progress(records)]
    if len(records) == 1:
        found += [*_layers(records[0]), _time(records[0])]
    return [*found, _settings(records), _repeat(records)]


def front_words(records: Sequence[RunRecord]) -> str:
    """What the front's figure shows, for who does not see it."""
    if len(records) > 1:
        return f"The fronts of {len(records)} runs. The tables of members have the numbers."
    run, rows = records[0], records[0].rows
    if not rows:
        return "The candidates of a search that has no front yet."
    first, last = rows[0], rows[-1]
    return (
        f"The front of {len(rows)} networks, from {share_left(first.flops_share)}% of the FLOPs with "
        f"{run.in_words(first.search_accuracy, 1)} {run.quality} to {share_left(last.flops_share)}% with "
        f"{run.in_words(last.search_accuracy, 1)}, on search {run.shown_on}. The table of members has the numbers."
    )


def member_label(row: FrontRow) -> str:
    """A member in a list."""
    return f"member {row.index} ({row.name}): {share_left(row.flops_share)}% of FLOPs"


def _front(records: Sequence[RunRecord], methods: Sequence[MethodsRecord]) -> Section:
    on = _shown_on(records)
    caption = (
        f"Filled marks: search {on}, by which candidates are judged. Open marks: test {on}, which only report. "
        f"Candidates that were stopped early are not drawn. {FLOPS_NOTE}"
    )
    drawn = Drawn("figure-front", front_figure(records, methods), front_words(records), caption)
    texts = tuple(text for record in records if (text := _picked_words(record, len(records) > 1)))
    tables = (methods_table(methods),) if methods else ()
    folded = tuple(
        members_table(one) if len(records) == 1 else _named(members_table(one), one) for one in records if one.rows
    )
    return Section("front", "Front", texts, (drawn,), tables=tables, folded=folded)


def _picked_words(record: RunRecord, several: bool) -> str:
    row, original = record.picked, record.original
    prefix = f"{record.name}: " if several else ""
    if row is None or original is None:
        return ""
    lost = points_lost(row, original) if record.score is None else score_lost(row, original)
    of_what = f"{abs(lost or 0):.2f} points of test accuracy"
    if record.score is not None:
        of_what = f"{abs(lost or 0):.4g} of {record.score}"
    change = "" if lost is None else f", {'gains' if lost < 0 else 'loses'} {of_what}"
    rule, on = record.options.get("pick", "knee"), record.shown_on
    test = original.test_accuracy
    tested = "" if test is None else f" and {record.in_words(test)} on test {on}"
    return (
        f"{prefix}The original reaches {record.in_words(original.search_accuracy)} on search {on}{tested} with "
        f"{original.flops / 1e6:,.1f} million FLOPs. Picked ({rule}): member {row.index}, {row.name}, "
        f"{share_left(row.flops_share)}% of the FLOPs{change}."
    )


def _named(table: Table, record: RunRecord) -> Table:
    return Table(f"{table.caption}: {record.name}", table.headings, table.rows, table.marked, table.words)


def _budgets(records: Sequence[RunRecord]) -> Section:
    texts = tuple(dict.fromkeys(_timed_how(record) for record in records if record.rows)) or ("There is no front yet.",)
    return Section("budgets", "Best within a budget", texts, tables=(budgets_table(records),))


def _timed_how(record: RunRecord) -> str:
    """Under which conditions the front was timed, if it was."""
    if all(row.latency is None for row in record.rows):
        return "Latency was not measured: --latency-runtime torch, or another runtime, has the front timed."
    how = fact(record.manifest, LATENCY, kind=dict) or {}
    said = ", ".join(
        f"{name} {how[name]}" for name in ("runtime", "batch", "threads", "device", "hardware") if how.get(name)
    )
    whole = fact(how, "original_seconds", kind=float)
    original = "" if whole is None else f"; the original takes {1e3 * whole:.3g} ms"
    return f"Latency is of a batch, in milliseconds: {said or 'its conditions are not recorded'}{original}."


def _bands(records: Sequence[RunRecord]) -> list[Section]:
    found = bands(records)
    if not found:
        return []
    caption = (
        "Empirical attainment over runs that differ in nothing but their seed, on search images: what the best of "
        "them, half of them and each of them reach. The band lies between the first and the last."
    )
    counts = ", ".join(str(len(one.records)) for one in found)
    label = f"Attainment bands of {len(found)} settings, each over {counts} seeds."
    return [Section("seeds", "Over seeds", (), (Drawn("figure-seeds", attainment_figure(found), label, caption),))]


def _shown_on(records: Sequence[RunRecord]) -> str:
    return " or ".join(dict.fromkeys(record.shown_on for record in records)) or "images"


def _progress(records: Sequence[RunRecord]) -> Section:
    best, on = " or ".join(dict.fromkeys(record.quality for record in records)), _shown_on(records)
    drawn = (
        Drawn(
            "figure-hypervolume",
            hypervolume_figure(records),
            f"Hypervolume over evaluations of {_runs(records)}: it only rises.",
            "Hypervolume of all candidates so far, to the point at which every objective is 1.",
        ),
        Drawn(
            "figure-accuracy",
            accuracy_figure(records),
            f"Best {best} within each budget over evaluations of {_runs(records)}.",
            f"Best {best} on search {on} among candidates that were measured to the end, within each budget.",
        ),
    )
    if not any(record.evaluated for record in records):
        return Section("progress", "Progress", ("Nothing has been evaluated yet.",))
    return Section("progress", "Progress", (), drawn)


def _runs(records: Sequence[RunRecord]) -> str:
    return "the search" if len(records) == 1 else f"{len(records)} runs"


def _layers(record: RunRecord) -> list[Section]:
    rows = shown_members(record)
    if not rows:
        return [Section("layers", "Layers", ("Widths are known of members of a finished front alone.",))]
    row = record.picked if record.picked in rows else rows[len(rows) // 2]
    assert row is not None
    against = "against the ladder that the search began with" if record.ladder else "(this run has kept no ladder)"
    first = [one.layer.name for one in shrinking(record)[:3]]
    drawn = (
        Drawn(
            "figure-widths",
            widths_figure(record, row),
            f"Neurons kept in each layer of {member_label(row)}.",
            f"Neurons that a member keeps in each channel group, {against}. A group is named after its first "
            "convolution.",
        ),
        Drawn(
            "figure-map",
            map_figure(record),
            f"Share of neurons kept by layer and member. First to shrink: {', '.join(first)}.",
            "Share of neurons kept in each layer, over all members from the smallest to the largest. Dark is little.",
        ),
    )
    texts = (f"First to fall below half of their neurons: {', '.join(first)}.",)
    return [Section("layers", "Layers", texts, drawn, folded=(shrinking_table(record),))]


def _time(record: RunRecord) -> Section:
    tables = (time_table(record), failures_table(record))
    if not record.evaluated:
        return Section("time", "Time and failures", tables=tables)
    caption = "Seconds of evaluations by generation, added up over all workers."
    drawn = Drawn("figure-time", time_figure(record), f"{caption} The table has the sum.", caption)
    return Section("time", "Time and failures", (), (drawn,), tables=tables)


def _settings(records: Sequence[RunRecord]) -> Section:
    if not any(record.options for record in records):
        return Section("settings", "Settings", ("The manifest does not say what the run was told.",))
    tables = (settings_table(records, every=False),)
    folded = (settings_table(records, every=True), made_with_table(records))
    texts = ("Rows in which runs differ are marked.",) if len(records) > 1 else ()
    return Section("settings", "Settings", texts, tables=tables, folded=folded)


def _repeat(records: Sequence[RunRecord]) -> Section:
    codes = []
    for record in records:
        of = f" ({record.name})" if len(records) > 1 else ""
        if command := repeat_command(record):
            codes.append(Code(f"Repeat the search{of}", command))
        if not record.weightless:
            codes.append(Code(f"Go on with it{of}", resume_command(record)))
        if code := load_code(record):
            codes.append(Code(f"Load the picked member{of}", code))
        if command := export_command(record):
            codes.append(Code(f"Export it to ONNX{of}", command))
    return Section("repeat", "Repeat and use", codes=tuple(codes))
