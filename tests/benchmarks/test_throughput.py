from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import run_script

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "throughput.py"


@pytest.mark.slow
def test_the_benchmark_of_throughput_runs_and_all_sides_judge_the_same_candidates(tmp_path: Path) -> None:
    made = run_script(SCRIPT, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("throughput-*-quick.json")
    result = json.loads(file.read_text())
    rows = {row["side"]: row for row in result["rows"]}
    plain = rows.pop("plain: masks on the full network")
    assert set(rows) == {
        f"gaprune: {precision}, {norms}" for precision in ("float32", "bfloat16") for norms in ("folded", "not folded")
    }
    assert plain["speed_up"] == 1
    for row in (plain, *rows.values()):
        assert row is plain or 0 < row["outside_forward"] < 1
        assert len(row["accuracy"]) == len(row["seconds"]) == len(result["flops_shares"]) == 2
        assert sum(row["seconds"]) == pytest.approx(2 / row["candidates_per_second"], rel=0.05)
    folded, whole = (rows[f"gaprune: float32, {norms}"]["accuracy"] for norms in ("folded", "not folded"))
    assert folded == pytest.approx(whole, abs=0.01)
    assert [set(row) - {"seconds", "outside_forward"} for row in result["growth"]] == [
        *[{"width of an untrained vgg16"}] * 2,
        *[{"search images"}] * 2,
    ]
    memory = result["peak_mb"]
    assert 0 < memory["before"] <= memory["gaprune"] <= memory["plain"]
    assert result["figures"]["speed-up"] == rows[result["in_a_search"]]["speed_up"]
