"""What all figures have in common: colours that stand out on white and on black, symbols and dashes beside them."""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
"""A figure as plotly.js takes it: ``data`` and ``layout``."""

COLOURS = ("#2f80c8", "#c8641b", "#2a8f62", "#9a63b8", "#c94f62", "#8a7a1f")
"""With at least three times the luminance of black, and a third of white's."""

GREY = "#7d858d"

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

GRID = "rgba(128,128,128,0.25)"


def colour(place: int) -> str:
    """Of the run at a place, round and round."""
    return COLOURS[place % len(COLOURS)]


def translucent(colour: str, opacity: float) -> str:
    """The same colour, through which one sees.

    Example:
        >>> translucent("#2f80c8", 0.2)
        'rgba(47,128,200,0.2)'
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def symbol(place: int) -> str:
    """Likewise."""
    return SYMBOLS[place % len(SYMBOLS)]


def dash(place: int) -> str:
    """Likewise."""
    return DASHES[place % len(DASHES)]


def plain(value: Any) -> Any:
    """A part of a figure with its texts shown as they are: plotly.js takes tags in them for links and styles.

    Example:
        >>> plain({"name": ["<b>run</b>", 3], "hovertemplate": "%{y}<extra></extra>"})
        {'name': ['&lt;b>run&lt;/b>', 3], 'hovertemplate': '%{y}<extra></extra>'}
    """
    if isinstance(value, str):
        return value.replace("<", "&lt;").replace("&lt;extra>&lt;/extra>", "<extra></extra>")
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def figure(data: list[dict[str, Any]], x: str, y: str, *, height: int = 460, **layout: Any) -> Figure:
    """Traces with titles of their axes, over no background of their own."""
    data, x, y = plain(data), plain(x), plain(y)
    axis = {"gridcolor": GRID, "zeroline": False, "automargin": True}
    xaxis, yaxis = layout.pop("xaxis", {}), layout.pop("yaxis", {})
    return {
        "data": data,
        "layout": {
            "height": height,
            "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "title": {"text": x}, **xaxis},
            "yaxis": {**axis, "title": {"text": y}, **yaxis},
            **layout,
        },
    }
