"""What members keep of each layer: one member against the ladder, and all of the front at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gaprune.runs import FrontRow, share_left
from gaprune.views.record import Layer, RunRecord
from gaprune.views.style import Figure, colour, figure

MOST_COLUMNS = 120
"""Members that the map of all layers shows, evenly over the front."""

HALF = 0.5


@dataclass(frozen=True)
class Shrinking:
    """How a layer goes down over the front.

    Attributes:
        layer: which.
        half_at: the largest share of FLOPs at which a member keeps less than half of its neurons; ``None`` where none.
        mean: share of its neurons that members keep on average.
        least: share that the narrowest member keeps.
    """

    layer: Layer
    half_at: float | None
    mean: float
    least: float


def shown_members(record: RunRecord) -> list[FrontRow]:
    """The members whose widths are known and fit the layers, fewest FLOPs first."""
    return [row for row in record.rows if record.layers and len(row.widths) == len(record.layers)]


def kept(record: RunRecord, row: FrontRow) -> list[float]:
    """Share of each layer's neurons that a member keeps."""
    return [width / max(layer.size, 1) for width, layer in zip(row.widths, record.layers, strict=True)]


def on_the_ladder(record: RunRecord, row: FrontRow) -> list[float] | None:
    """Share of each layer's neurons on the ladder at a member's FLOPs; ``None`` where the run has kept no ladder."""
    if record.ladder is None:
        return None
    widths = record.ladder.at(row.flops_share)
    return [width / max(layer.size, 1) for width, layer in zip(widths, record.layers, strict=True)]


def widths_figure(record: RunRecord, row: FrontRow) -> Figure:
    """A member's widths by layer as bars, and the ladder's at the same FLOPs as marks."""
    names = [layer.name for layer in record.layers]
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "member",
            "y": names,
            "x": [round(100 * share, 2) for share in kept(record, row)],
            "text": member_widths(record, row),
            "textposition": "none",
            "hovertemplate": "%{y}: %{text}<extra></extra>",
            "marker": {"color": colour(0)},
        }
    ]
    ladder = on_the_ladder(record, row)
    if ladder is not None:
        mark = {"symbol": "line-ns-open", "size": 14, "color": colour(1), "line": {"width": 3}}
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "ladder at the same FLOPs",
                "y": names,
                "x": [round(100 * share, 2) for share in ladder],
                "hovertemplate": "%{y}: %{x:.1f}% on the ladder<extra></extra>",
                "marker": mark,
            }
        )
    return _by_layer(record, data, "neurons kept (%)", xaxis={"range": [0, 102]}, showlegend=True)


def member_widths(record: RunRecord, row: FrontRow) -> list[str]:
    """``12 of 64 neurons`` for each layer."""
    return [f"{width} of {layer.size} neurons" for width, layer in zip(row.widths, record.layers, strict=True)]


def map_figure(record: RunRecord) -> Figure:
    """Share of neurons kept, by layer and member, members by their FLOPs."""
    rows = shown_members(record)
    rows = rows[:: max(1, -(-len(rows) // MOST_COLUMNS))]
    shares = [kept(record, row) for row in rows]
    labels = [f"{share_left(row.flops_share)}% ({row.index})" for row in rows]
    data = [
        {
            "type": "heatmap",
            "x": labels,
            "y": [layer.name for layer in record.layers],
            "z": [[round(100 * share, 1) for share in column] for column in zip(*shares, strict=True)],
            "zmin": 0,
            "zmax": 100,
            "colorscale": "Cividis",
            "colorbar": {"title": {"text": "kept (%)", "side": "right"}, "thickness": 14},
            "hovertemplate": "%{y} in member %{x}: %{z}% kept<extra></extra>",
        }
    ]
    return _by_layer(record, data, "FLOPs left (member)", xaxis={"type": "category"}, showlegend=False)


def shrinking(record: RunRecord) -> list[Shrinking]:
    """Every layer, the one that shrinks first at the head: that falls below half of its neurons at the most FLOPs."""
    rows = shown_members(record)
    if not rows:
        return []
    shares = [kept(record, row) for row in rows]
    found = []
    for place, layer in enumerate(record.layers):
        column = [share[place] for share in shares]
        below = [row.flops_share for row, share in zip(rows, column, strict=True) if share < HALF]
        found.append(Shrinking(layer, max(below, default=None), sum(column) / len(column), min(column)))
    return sorted(found, key=lambda one: (-(one.half_at or 0.0), one.mean))


def _by_layer(record: RunRecord, data: list[dict[str, Any]], x: str, **layout: object) -> Figure:
    """Layers from top to bottom, as the network has them."""
    made = figure(data, x, "", height=140 + 20 * len(record.layers), **layout)
    made["layout"]["yaxis"].update(autorange="reversed", type="category", dtick=1)
    return made
