"""Pictures of results: accuracy against a budget, a curve a method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_TICKS = 16


@dataclass(frozen=True)
class Curve:
    """What one method reaches.

    Attributes:
        label: of the method.
        points: (budget, accuracy from 0 to 1), in any order.
        style: of the line and its marks, as matplotlib writes it.
        spread: of each point's accuracy, least and most.
    """

    label: str
    points: Sequence[tuple[float, float]]
    style: str = "o-"
    spread: Sequence[tuple[float, float]] = ()


def apart(ticks: Sequence[float]) -> list[float]:
    """Of sorted positive ticks those whose labels do not overlap on a logarithmic axis, the first included."""
    found = list(ticks[:1])
    for tick in ticks[1:]:
        if math.log(tick / found[-1]) >= math.log(ticks[-1] / ticks[0]) / MOST_TICKS:
            found.append(tick)
    return found


def draw_accuracy(path: Path, curves: Iterable[Curve], budget: str, title: str, original: float | None = None) -> None:
    """Draw accuracy against a budget, on a logarithmic axis.

    Args:
        path: of the PNG; its folder is made.
        curves: those without points are left out.
        budget: what the axis is called.
        title: of the picture.
        original: accuracy of the network that all were pruned from.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if original is not None:
        axes.axhline(100 * original, color="black", linewidth=0.8, label="original")
    ticks = set()
    for curve in curves:
        order = sorted(range(len(curve.points)), key=lambda place: curve.points[place][0])
        x, y = ([curve.points[place][axis] * scale for place in order] for axis, scale in ((0, 1), (1, 100)))
        if not order:
            continue
        (line,) = axes.plot(x, y, curve.style, markersize=5, label=curve.label)
        if curve.spread:
            least, most = ([100 * curve.spread[place][end] for place in order] for end in (0, 1))
            axes.fill_between(x, least, most, alpha=0.2, color=line.get_color())
        ticks |= {float(f"{value:.2g}") for value in x}
    shown = apart(sorted(ticks))
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown], fontsize=7)
    axes.minorticks_off()
    axes.set(xlabel=f"{budget} (log)", ylabel="test accuracy, %", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
