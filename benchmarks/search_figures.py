"""What the rows of ``search.py`` come to: its goals, the figures that they speak of, means over seeds, the picture."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Goal
from benchmarks.search_methods import BITS, TUNED
from gaprune.errors import OptionError

CHOSEN, RAW, RUNGS = "chosen", "best by fitness", "its ladder"
TUNED_CHOSEN = f"{TUNED}, divergence: {CHOSEN}"
"""The row that goals speak of."""

NETWORKS = {"vgg16": ((0.5, 0.0), (0.25, 1.0), (0.1, 4.0), (0.05, 6.0))}
NETWORKS["resnet18-imagenet"] = ((0.5, 1.0), (0.25, 4.0), (0.1, 10.0))
POLISHED = ((0.25, 0.5), (0.1, 2.0), (0.05, 3.0))
TRAINED = ((0.2, 0.5), (0.1, 1.0), (0.05, 1.5))


def _goals() -> tuple[Goal, ...]:
    found = []
    for network, losses in NETWORKS.items():
        for state, marks in (("polished", POLISHED), ("trained", TRAINED)):
            for budget, points in marks:
                name = f"{network}: over the ladder, {state}, {budget:.0%}"
                found.append(Goal(f"{name}, mean of seeds", ">=", points, "points"))
                found.append(Goal(f"{name}, lowest end of an interval", ">=", 0.0, "points"))
        found += [Goal(f"{network}: loss at {budget:.0%}", "<=", points, "points") for budget, points in losses]
        found.append(Goal(f"{network}: search less test accuracy of what is handed out", "<=", 0.3, "points"))
        found.append(Goal(f"{network}: evaluations to the last of {BITS}, worst seed", "<=", 12, "evaluations"))
    return tuple(found)


GOALS = _goals()

Row = dict[str, Any]


def figures_of(network: str, rows: list[Row], original: float) -> dict[str, float]:
    """The figures that goals speak of."""
    figures = {}
    ours = [row for row in rows if row["method"] == TUNED_CHOSEN]
    for state, marks in (("polished", POLISHED), ("trained", TRAINED)):
        for budget, _ in marks:
            entries = [row["budgets"].get(f"{budget:.0%}", {}) for row in ours]
            parts = [entry if state == "polished" else entry.get("trained", {}) for entry in entries]
            apart = [part["over the ladder"] for part in parts if "over the ladder" in part]
            if apart:
                name = f"{network}: over the ladder, {state}, {budget:.0%}"
                figures[f"{name}, mean of seeds"] = round(statistics.mean(one["points"] for one in apart), 3)
                figures[f"{name}, lowest end of an interval"] = min(one["interval"][0] for one in apart)
    for budget, _ in NETWORKS.get(network, ()):
        reached = [row["budgets"][f"{budget:.0%}"]["test"] for row in ours if f"{budget:.0%}" in row["budgets"]]
        if reached:
            figures[f"{network}: loss at {budget:.0%}"] = round(100 * (original - statistics.mean(reached)), 3)
    gaps = [100 * (entry["search"] - entry["test"]) for row in ours for entry in row["budgets"].values()]
    if gaps:
        figures[f"{network}: search less test accuracy of what is handed out"] = round(statistics.mean(gaps), 3)
    bits = [row["hypervolume"][-1] for row in rows if row["method"].startswith(BITS)]
    if bits and ours:
        needed = [sum(value < max(bits) for value in row["hypervolume"]) + 1 for row in ours]
        figures[f"{network}: evaluations to the last of {BITS}, worst seed"] = max(needed)
    return figures


def summary(rows: list[Row]) -> list[Row]:
    """Means over seeds by method; how far each is over the ladder from the worst to the best seed."""
    found = []
    for name in dict.fromkeys(row["method"] for row in rows):
        here = [row for row in rows if row["method"] == name]
        line: Row = {"method": name, "seeds": len(here), "evaluations": here[0]["evaluations"], "budgets": {}}
        if "seconds" in here[0]:
            line["CPU seconds"] = round(statistics.mean(row["seconds"] for row in here))
        for budget in here[0]["budgets"]:
            entries = [row["budgets"][budget] for row in here if budget in row["budgets"]]
            line["budgets"][budget] = _spread(entries)
            trained = [entry["trained"] for entry in entries if "trained" in entry]
            if trained:
                line["budgets"][budget]["trained"] = _spread(trained)
        found.append(line)
    return found


def _spread(entries: list[Row]) -> Row:
    found: Row = {"test": round(statistics.mean(entry["test"] for entry in entries), 4)}
    apart = [entry["over the ladder"] for entry in entries if "over the ladder" in entry]
    if apart:
        points = [one["points"] for one in apart]
        found |= {"points": round(statistics.mean(points), 2), "least": min(points), "most": max(points)}
        found["lowest end of an interval"] = min(one["interval"][0] for one in apart)
    return found


def draw(path: Any, rows: list[Row], title: str) -> None:
    """Points over the ladder by budget: the mean of each method, and from the worst to the best seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, name in enumerate(dict.fromkeys(row["method"] for row in rows if "seconds" in row)):
        here = [row["budgets"] for row in rows if row["method"] == name]
        budgets = list(here[0])
        points = [[entries[b]["over the ladder"]["points"] for entries in here if b in entries] for b in budgets]
        middle = np.array([statistics.mean(one) for one in points])
        reach = np.abs(np.array([[min(one), max(one)] for one in points]).T - middle)
        axes.errorbar(np.arange(len(budgets)) + 0.04 * place, middle, reach, marker="o", label=name, capsize=2)
        axes.set_xticks(range(len(budgets)), budgets)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="FLOPs at most", ylabel="points over the ladder, test images", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=130)


def rows_there(file: Path, settings: Row, rows: list[Row]) -> list[Row]:
    """Rows of an earlier result whose methods are none of these.

    Raises:
        OptionError: there is none, or it is of other settings.
    """
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"beside needs an earlier result, {file} cannot be read") from error
    wanted = json.loads(json.dumps(settings))
    apart = sorted(name for name in wanted if earlier["settings"].get(name) != wanted[name])
    if apart:
        raise OptionError(f"beside needs a result of the same settings, {file} has other {', '.join(apart)}")
    names = {row["method"] for row in rows}
    found: list[Row] = [row for row in earlier["rows"] if row["method"] not in names]
    return found
