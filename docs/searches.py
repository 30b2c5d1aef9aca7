"""Tables of the results of ``benchmarks/search.py``."""

from __future__ import annotations

from typing import Any

from tables import percent, table

Result = dict[str, Any]


def evolution(result: Result) -> str:
    """Test accuracy of what is handed out by budget, and how far it is over the ladder, by method."""
    if "budgets" not in result["summary"][0]:
        return _by_hypervolume(result)
    budgets = list(result["summary"][0]["budgets"])
    rows = [_line(row, budgets) for row in result["summary"]]
    header = ("method", "seeds", "evaluations", "CPU seconds", *(f"{budget} of the FLOPs" for budget in budgets))
    trained = [row for row in result["summary"] if any("trained" in entry for entry in row["budgets"].values())]
    if not trained:
        return table(header, rows)
    after = [_line(row | {"budgets": _trained(row)}, budgets) for row in trained]
    images = result["settings"]["train_images"]
    told = f"After {images:,} training images with the original as teacher:"
    return f"{table(header, rows)}\n{told}\n\n{table(header, after)}"


def _trained(row: Result) -> Result:
    return {budget: entry["trained"] for budget, entry in row["budgets"].items() if "trained" in entry}


def _line(row: Result, budgets: list[str]) -> tuple[Any, ...]:
    cells = (_cell(row["budgets"].get(budget)) for budget in budgets)
    return row["method"], row["seeds"], row["evaluations"], row.get("CPU seconds", ""), *cells


def _cell(entry: Result | None) -> str:
    if entry is None:
        return ""
    if "points" not in entry:
        return percent(entry["test"])
    return f"{percent(entry['test'])} ({entry['points']:+.1f}; {entry['least']:+.1f} to {entry['most']:+.1f})"


def _by_hypervolume(result: Result) -> str:
    """Hypervolume and the best member's accuracy, by method: results of before differences were paired."""
    budgets = [name.removeprefix("test accuracy at ") for name in result["summary"][0] if name.startswith("test ")]
    last = f"hypervolume at {result['settings']['evaluations']}"
    rows = [
        (
            row["method"],
            row["seeds"],
            *(f"{row[last][part]:.4f}" for part in ("mean", "least", "most")),
            *(percent(row[f"test accuracy at {budget}"]["mean"]) for budget in budgets),
        )
        for row in result["summary"]
    ]
    accuracies = (f"test accuracy, {budget} of the FLOPs" for budget in budgets)
    header = ("method", "seeds", f"{last}, mean", "least", "most", *accuracies)
    return table(header, rows)
