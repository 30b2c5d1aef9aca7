"""A search for networks that are accurate, small and hard to attack."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn
from tuning import SMALL

import gaprune
from gaprune.commands.search import SearchResult
from gaprune.data import ImageData
from gaprune.options import UNDER_ATTACK
from gaprune.runs import read_csv, row_values


def test_it_is_an_objective_whose_columns_are_those_of_a_search_that_measures_it(
    original: nn.Module, faint: ImageData, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asked = {**SMALL, "objectives": ["accuracy", "flops", "robustness"], "generations": 2}
    found: SearchResult = gaprune.search(original, faint, output=run, **asked)  # type: ignore[operator]
    logged = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert all({"robustness", *UNDER_ATTACK} <= set(one["values"]) for one in logged)
    assert not any(one["bound"] for one in logged), "an accuracy that is too low says nothing of robustness"
    for row in found.rows:
        assert tuple(row.attacked) == UNDER_ATTACK
        assert abs(row.objectives["robustness"] - sum(row.attacked.values()) / 4) < 1e-9
        assert json.loads((run / row.path / "metrics.json").read_text())["attacked"] == row.attacked
        assert row_values(row, None)["under_pgd_8"] == row.attacked["pgd_8"]
    assert read_csv(run / "front.csv") == found.rows
