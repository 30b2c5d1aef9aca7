"""Which members are measured on the test images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import gaprune
from gaprune.data import ImageData
from gaprune.progress import SILENT
from gaprune.runs import FrontRow, pick
from gaprune.runs.whole import differing

SMALL: dict[str, Any] = {
    "search_size": 60,
    "calibration_size": 45,
    "batch_size": 10,
    "population": 8,
    "generations": 2,
    "objectives": ("loss", "flops"),
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}


def test_of_a_long_front_what_its_table_shows_is_tested_and_the_rest_on_demand(
    trained: nn.Module, square_data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaprune.runs.display.BUDGETS", (0.3,))

    def search(**options: Any) -> Any:
        return gaprune.search(trained, square_data, **{**SMALL, **options})  # type: ignore[operator]

    every = search(output=tmp_path / "all", tested="all")
    assert len(every.rows) > 2
    assert all(row.test_accuracy is not None for row in every.rows)
    shown = search(output=tmp_path / "shown")
    tested = [row for row in shown.rows if row.test_accuracy is not None]
    assert 0 < len(tested) <= 2 < len(shown.rows)
    assert shown.picked in tested
    whole = {row.key: row for row in every.rows}
    assert [replace(whole[row.key], test_accuracy=row.test_accuracy) for row in shown.rows] == shown.rows
    assert all(whole[row.key].test_accuracy == row.test_accuracy for row in tested)

    def rule(row: FrontRow) -> str:
        return f"flops<={row.flops_share}"

    lacking = next(row for row in shown.rows if row not in tested and pick(shown.rows, rule(row)) == row)
    assert "not measured" in (shown.path / lacking.path / "README.md").read_text()
    again = search(resume=shown.path, pick=rule(lacking))
    assert again.picked.index == lacking.index
    assert again.picked.test_accuracy == whole[lacking.key].test_accuracy
    assert [row for row in again.rows if row.key != lacking.key] == [r for r in shown.rows if r.key != lacking.key]
    member = shown.path / lacking.path
    assert "not measured" not in (member / "README.md").read_text()
    assert json.loads((member / "metrics.json").read_text())["test_accuracy"] == again.picked.test_accuracy
    assert search(resume=shown.path).rows == again.rows, "what is known stays"
    assert differing(shown.path)[1] == []
    assert search(resume=shown.path, tested="all").rows == every.rows
