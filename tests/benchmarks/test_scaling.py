from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling import CREWS, GOALS, bound, cost_spread

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


def test_stand_ins_are_spread_as_a_real_generation_is() -> None:
    costs = cost_spread(16)
    assert costs.shape == (16,)
    assert costs.max() <= 1.0
    assert costs.max() / costs.min() > 5


def test_no_schedule_beats_the_bound() -> None:
    assert bound(np.array([3.0, 1.0, 1.0, 1.0]), 2) == 3.0
    assert bound(np.array([1.0] * 5), 2) == 2.5


def test_every_crew_has_its_goals() -> None:
    assert len(GOALS) == 2 * len(CREWS)


@pytest.mark.slow
def test_the_benchmark_of_scaling_runs_and_all_backends_find_the_same(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("scaling-*-quick.json")
    result = json.loads(file.read_text())
    assert [row["side"] for row in result["rates"]][:2] == ["local", "ray, 1"]
    assert all(row["same_as_local"] for row in result["rates"])
    assert all(row["candidates_per_second"] > 0 for row in result["rates"])
    (row,) = result["scheduling"]
    assert 0 < row["efficiency"] <= 1
    assert row["candidates"] == 4 * row["workers"]
