"""The front for eyes: a table for the terminal, one for Markdown, and a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaprune.runs.files import atomic_write
from gaprune.runs.front import FLOPS_NOTE, Baseline, FrontRow, Timed
from gaprune.runs.picking import best_of
from gaprune.runs.tables import markdown

if TYPE_CHECKING:
    from rich.table import Table

PICKED = "*"

BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Shares of the original's FLOPs that a long front is shown at; with the pick at most 15 rows."""

SCALES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""What the budgets are multiplied by where the largest network has so much smaller a share."""

SAVED = "in front/"

_HEADINGS = (
    "",
    "accuracy\nsearch %",
    "accuracy\ntest %",
    "points\nlost",
    "FLOPs",
    "FLOPs\nleft %",
    "params",
    "params\nleft %",
    "MB",
    SAVED,
)
_BEFORE = ("before\nsearch %", "before\ntest %")
"""Further columns, of a front with a member that was fine-tuned."""

_TIMES = ("ms", "ms\nleft %")
"""Further columns, of a front that was timed."""

_LEFT_ALIGNED = ("", SAVED)


def over_budgets(rows: Sequence[FrontRow], picked: FrontRow | None = None) -> list[FrontRow]:
    """The rows of a table that is read at a glance: of a long front the best within each of some budgets of FLOPs.

    Args:
        rows: the front.
        picked: a row that stays in any case.

    Returns:
        All rows where there are few; else, in their order, the best within each budget (``best_of``).
    """
    if len(rows) <= len(BUDGETS) + 1:
        return list(rows)
    largest = max(row.flops_share for row in rows)
    scale = min((scale for scale in SCALES if scale >= largest), default=largest)
    chosen = set() if picked is None else {picked.index}
    for budget in BUDGETS:
        within = [row for row in rows if row.flops_share <= budget * scale]
        if within:
            chosen.add(best_of(within, rows).index)
    return [row for row in rows if row.index in chosen]


def points_lost(row: FrontRow, original: Baseline) -> float | None:
    """Percentage points of test accuracy below the original; ``None`` where one of them was not tested."""
    if row.test_accuracy is None or original.test_accuracy is None:
        return None
    return 100 * (original.test_accuracy - row.test_accuracy)


def front_table(
    rows: Sequence[FrontRow],
    *,
    baseline: Baseline | None = None,
    picked: FrontRow | None = None,
    every: bool = False,
    timed: Timed | None = None,
    score: str | None = None,
) -> Table:
    """The front as a table for a terminal: the original first, the picked network marked and bold.

    Args:
        rows: the front.
        baseline: the original network.
        picked: the row to mark.
        every: whether to show all rows of a long front, and not only those of ``over_budgets``.
        timed: how its rows were timed, where they were.
        score: what a task of one's own calls its score; ``None`` where networks are judged by accuracy.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # narrow enough for 80 columns
    shown = list(rows) if every else over_budgets(rows, picked)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0, caption=_note(shown, rows, timed))
    table.caption_justify = "left"
    for heading in _headings(rows, score):
        table.add_column(heading, justify="left" if heading in _LEFT_ALIGNED else "right")
    for cells in _cells(shown, rows, baseline, picked, timed, score is None):
        table.add_row(*cells, style="bold" if cells[0].endswith(PICKED) else None)
    return table


def plain_table(
    rows: Sequence[FrontRow],
    *,
    baseline: Baseline | None = None,
    picked: FrontRow | None = None,
    every: bool = False,
    timed: Timed | None = None,
    score: str | None = None,
) -> str:
    """The same table as Markdown, with a closing line break. Arguments as of ``front_table``."""
    shown = list(rows) if every else over_budgets(rows, picked)
    headings = [heading.replace("\n", " ") for heading in _headings(rows, score)]
    words = [place for place, heading in enumerate(headings) if heading in _LEFT_ALIGNED]
    table = markdown(headings, _cells(shown, rows, baseline, picked, timed, score is None), text=words)
    return f"{table}\n\n{_note(shown, rows, timed)}\n"


def plot_front(
    rows: Sequence[FrontRow],
    path: Path,
    *,
    baseline: Baseline,
    picked: FrontRow | None = None,
    evaluated: Sequence[tuple[float, float]] = (),
    title: str = "",
    score: str | None = None,
) -> None:
    """Draw accuracy, or a task's score, against FLOPs left as a PNG.

    Args:
        rows: the front.
        path: of the picture.
        baseline: the original network, drawn as a star.
        picked: the network to ring.
        evaluated: (share of FLOPs, accuracy on the search set) of other candidates, drawn faint.
        title: above the picture.
        score: what a task of one's own calls its score; ``None`` where networks are judged by accuracy.

    Raises:
        OSError: the file cannot be written; an old one stays.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))  # margins that are looked for take as long as the drawing
    figure.subplots_adjust(left=0.1, right=0.97, bottom=0.12, top=0.92)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    unit = 100.0 if score is None else 1.0
    _draw_points(axes, rows, baseline, picked, evaluated, unit)
    _frame(axes, [*rows], baseline, unit)
    axes.set_ylabel(score or "accuracy (%)")
    if title:
        axes.set_title(title, fontsize="medium")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    atomic_write(path, picture.getvalue())


def _draw_points(
    axes: Any,
    rows: Sequence[FrontRow],
    baseline: Baseline,
    picked: FrontRow | None,
    evaluated: Sequence[tuple[float, float]],
    unit: float,
) -> None:
    ordered = sorted(rows, key=lambda row: row.flops_share)
    shares = [100 * row.flops_share for row in ordered]
    if evaluated:
        x, y = zip(*evaluated, strict=True)
        axes.scatter([100 * v for v in x], [unit * v for v in y], s=8, color="0.75", label="evaluated", zorder=1)
    axes.plot(
        shares,
        [unit * row.search_accuracy for row in ordered],
        "o-",
        ms=4,
        label="front, search set",
        zorder=3,
    )
    tested = [(100 * row.flops_share, unit * row.test_accuracy) for row in ordered if row.test_accuracy is not None]
    if tested:
        axes.plot(
            *zip(*tested, strict=True),
            "s",
            ms=4,
            mfc="none",
            color="tab:green",
            label="front, test set",
            zorder=2,
        )
    axes.plot(
        100,
        unit * baseline.search_accuracy,
        "*",
        ms=13,
        color="tab:red",
        label="original, search set",
        zorder=4,
    )
    before = [(100 * row.flops_share, unit * row.untrained().search_accuracy) for row in ordered if row.trained_epochs]
    if before:
        style: dict[str, Any] = {"ms": 5, "color": "tab:blue", "alpha": 0.6}
        axes.plot(*zip(*before, strict=True), "x", label="before fine-tuning, search set", zorder=2, **style)
    if picked is not None:
        point = (100 * picked.flops_share, unit * picked.search_accuracy)
        axes.plot(*point, "o", ms=12, mfc="none", mew=1.5, color="black", label="picked", zorder=5)


def _frame(axes: Any, rows: list[FrontRow], baseline: Baseline, unit: float) -> None:
    """Axes over the front and the original; candidates far below may fall outside."""
    accuracies = [unit * baseline.search_accuracy]
    for row in rows:
        values = (row.search_accuracy, row.test_accuracy, row.search_accuracy_before)
        accuracies += [unit * value for value in values if value is not None]
    margin = max(0.01 * unit, 0.08 * (max(accuracies) - min(accuracies)))
    axes.set_ylim(min(accuracies) - margin, max(accuracies) + margin)
    axes.set_xlim(0, 104)
    axes.set_xlabel("FLOPs left (%), counted as fvcore does")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")


def _is_trained(rows: Sequence[FrontRow]) -> bool:
    return any(row.trained_epochs for row in rows)


def _is_timed(rows: Sequence[FrontRow]) -> bool:
    return any(row.latency is not None for row in rows)


def _headings(rows: Sequence[FrontRow], score: str | None = None) -> tuple[str, ...]:
    usual, before = _HEADINGS[1:], _BEFORE
    if score is not None:
        usual = (f"{score}\nsearch", f"{score}\ntest", "lost", *_HEADINGS[4:])
        before = ("before\nsearch", "before\ntest")
    found = (*_HEADINGS[:1], *(before if _is_trained(rows) else ()), *usual)
    after = found.index("params")
    return (*found[:after], *(_TIMES if _is_timed(rows) else ()), *found[after:])


def _note(shown: Sequence[FrontRow], rows: Sequence[FrontRow], timed: Timed | None) -> str:
    notes = FLOPS_NOTE if timed is None else f"{FLOPS_NOTE} ms a batch: {timed.conditions}."
    if len(shown) == len(rows):
        return notes
    which = f"{len(shown)} of {len(rows)} networks, the best on the search set within budgets of FLOPs"
    return f"{which}: front.csv has all, --all shows them. {notes}"


def _cells(
    shown: Sequence[FrontRow],
    rows: Sequence[FrontRow],
    baseline: Baseline | None,
    picked: FrontRow | None,
    timed: Timed | None,
    percent: bool,
) -> list[tuple[str, ...]]:
    shown_as = _percent if percent else _number
    trained, by_time, lines = _is_trained(rows), _is_timed(rows), []
    if baseline is not None:
        lines.append(
            (
                "original",
                *(("", "") if trained else ()),
                shown_as(baseline.search_accuracy),
                shown_as(baseline.test_accuracy),
                "",
                plain_number(baseline.flops),
                share_left(1.0),
                *(_time_cells(None if timed is None else timed.seconds, 1.0) if by_time else ()),
                plain_number(baseline.params),
                share_left(1.0),
                f"{baseline.size_mb:.2f}",
                "",
            )
        )
    marked = None if picked is None else picked.index
    return lines + [_row_cells(row, baseline, row.index == marked, trained, by_time, percent) for row in shown]


def _row_cells(
    row: FrontRow, baseline: Baseline | None, is_picked: bool, trained: bool, by_time: bool, percent: bool
) -> tuple[str, ...]:
    shown_as = _percent if percent else _number
    lost = None if baseline is None else points_lost(row, baseline) if percent else score_lost(row, baseline)
    before = (shown_as(row.search_accuracy_before), shown_as(row.test_accuracy_before))
    return (
        f"{row.index:02d}{' ' + PICKED if is_picked else ''}",
        *(before if trained else ()),
        shown_as(row.search_accuracy),
        shown_as(row.test_accuracy),
        "" if lost is None else f"{lost:.2f}" if percent else _number(lost),
        plain_number(row.flops),
        share_left(row.flops_share),
        *(_time_cells(row.latency, row.latency_share) if by_time else ()),
        plain_number(row.params),
        share_left(row.params_share),
        f"{row.size_mb:.2f}",
        row.path.removeprefix("front/"),
    )


def _time_cells(seconds: float | None, share: float | None) -> tuple[str, str]:
    if seconds is None or share is None:
        return "", ""
    return f"{1e3 * seconds:.3g}", share_left(share)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def score_lost(row: FrontRow, original: Baseline) -> float | None:
    """What a member loses of the original's score: on test data where the task has some, else on search data."""
    if original.test_accuracy is None:
        return original.search_accuracy - row.search_accuracy
    return None if row.test_accuracy is None else original.test_accuracy - row.test_accuracy


def share_left(share: float) -> str:
    """In percent, with one decimal, or as many digits as it takes to be more than nothing.

    >>> share_left(0.0884), share_left(0.00042)
    ('8.8', '0.042')
    """
    text = f"{100 * share:.1f}"
    return f"{100 * share:.2g}" if text == "0.0" and share > 0 else text


def plain_number(value: int) -> str:
    """Four significant digits: ``313.5 M``, ``94.04 M``, ``950``."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            scaled = value / factor
            decimals = max(0, 4 - len(str(int(scaled))))
            return f"{scaled:.{decimals}f} {unit}"
    return str(value)
