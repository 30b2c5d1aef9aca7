"""How a search came along: hypervolume and the best accuracy per budget over its evaluations, and where time went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaprune.views.axes import flops_share
from gaprune.views.provisional import USUAL, worth
from gaprune.views.record import RunRecord
from gaprune.views.style import Figure, colour, dash, figure, symbol

BUDGETS = (0.5, 0.25, 0.10, 0.05)
"""Shares of the original's FLOPs."""

MOST_POINTS = 200
"""Of a curve of hypervolumes."""


@dataclass(frozen=True)
class Curve:
    """Values that rise over the evaluations of a run, each with the number of the evaluation that reached it."""

    evaluations: tuple[int, ...]
    values: tuple[float, ...]


def hypervolumes(record: RunRecord) -> Curve:
    """The hypervolume of all candidates so far that count, to the point at which every objective is 1.

    Candidates of rounds and of anything else with a single objective are taken by accuracy and share of FLOPs.
    """
    from gaprune.evolve import hypervolume

    names = record.objectives if len(record.objectives) > 1 else USUAL
    reference = np.ones(len(names))
    points: list[list[float]] = []
    numbers: list[int] = []
    values: list[float] = []
    every = max(1, len(record.evaluated) // MOST_POINTS)
    for number, one in enumerate(record.evaluated, start=1):
        found = worth(one, names) if one.counts else None
        if found is not None:
            share = flops_share(record, one.values)
            points.append([found[0], share] if names == USUAL and share is not None else found)
        if points and (number % every == 0 or number == len(record.evaluated)):
            numbers.append(number)
            values.append(float(hypervolume(points, reference)))
    return Curve(tuple(numbers), tuple(values))


def best_accuracies(record: RunRecord, budget: float) -> Curve:
    """The best accuracy or score so far on the search set within a share of the original's FLOPs: steps and the end."""
    steps: dict[float, int] = {}
    best = -math.inf
    for number, one in enumerate(record.evaluated, start=1):
        share, accuracy = flops_share(record, one.values), one.values.get(record.judged_by)
        if one.counts and share is not None and accuracy is not None and share <= budget:
            best = max(best, accuracy)
            steps.setdefault(best, number)
    if steps:
        return Curve((*steps.values(), len(record.evaluated)), (*steps, best))
    return Curve((), ())


def hypervolume_figure(records: Sequence[RunRecord]) -> Figure:
    """The hypervolume over evaluations, a line a run."""
    data = []
    for place, record in enumerate(records):
        curve = hypervolumes(record)
        if curve.values:
            line = {"color": colour(place), "dash": dash(place), "width": 2}
            data.append(_steps(record.name, curve, line, symbol(place), ".4f"))
    return figure(data, "evaluations", "hypervolume", height=380, showlegend=len(records) > 1)


def accuracy_figure(records: Sequence[RunRecord]) -> Figure:
    """The best accuracy per budget over evaluations: a dash a budget, a colour a run."""
    data = []
    for place, record in enumerate(records):
        for number, budget in enumerate(BUDGETS):
            curve = best_accuracies(record, budget)
            if not curve.values:
                continue
            percent = Curve(curve.evaluations, tuple(map(record.drawn, curve.values)))
            hue = colour(number if len(records) == 1 else place)
            run = "" if len(records) == 1 else f"{record.name}: "
            line = {"color": hue, "dash": dash(number), "width": 2}
            data.append(
                _steps(
                    f"{run}within {budget:.0%} of FLOPs",
                    percent,
                    line,
                    symbol(number),
                    ".2f" if record.score is None else ".4g",
                )
            )
    words = " or ".join(dict.fromkeys(f"best {one.quality}, search {one.shown_on}{_unit(one)}" for one in records))
    return figure(data, "evaluations", words, height=380, showlegend=True)


def _unit(record: RunRecord) -> str:
    return " (%)" if record.score is None else ""


def _steps(name: str, curve: Curve, line: dict[str, object], mark: str, form: str) -> dict[str, object]:
    few = len(curve.values) <= 40
    return {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "name": name,
        "x": list(curve.evaluations),
        "y": list(curve.values),
        "line": {**line, "shape": "hv"},
        "marker": {"symbol": mark, "size": 6},
        "hovertemplate": f"{name}: %{{y:{form}}} after %{{x}} evaluations<extra></extra>",
    }


@dataclass(frozen=True)
class GenerationTime:
    """What the evaluations of a generation took.

    Attributes:
        name: ``generation 3``, with its part where there are several.
        candidates: evaluated in it.
        seconds: of them together.
    """

    name: str
    candidates: int
    seconds: float


def generation_times(record: RunRecord) -> list[GenerationTime]:
    """The time of evaluations by generation, in their order."""
    taken: dict[tuple[str, int], list[float]] = {}
    for one in record.evaluated:
        taken.setdefault((one.part, one.generation), []).append(one.seconds)
    return [
        GenerationTime(f"{part} generation {generation}".strip(), len(seconds), sum(seconds))
        for (part, generation), seconds in taken.items()
    ]


def time_figure(record: RunRecord) -> Figure:
    """Seconds of evaluations by generation, as bars."""
    times = generation_times(record)
    bars = {
        "type": "bar",
        "x": [one.name.removeprefix("generation ") for one in times],
        "y": [round(one.seconds, 2) for one in times],
        "text": [f"{one.name}: {one.seconds:,.1f} s for {one.candidates} candidates" for one in times],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": colour(0)},
    }
    made = figure([bars], "generation", "seconds of evaluations", height=320, showlegend=False)
    made["layout"]["xaxis"]["type"] = "category"
    return made
