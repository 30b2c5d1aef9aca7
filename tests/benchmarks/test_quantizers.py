from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import run_script

from benchmarks import quantizers

SCRIPT = Path(quantizers.__file__)


def test_the_benchmark_times_every_side_on_the_same_ids(tmp_path: Path) -> None:
    made = run_script(SCRIPT, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("quantizers-*-quick.json")
    rows = json.loads(file.read_text())["rows"]
    ours = [row for row in rows if row["side"] == quantizers.ONNX]
    assert [row["batch"] for row in ours] == list(quantizers.BATCHES)
    assert all(0 < row["logits_apart"] < 0.1 for row in ours)
    exact = [row for row in rows if row["side"] in (quantizers.FLOAT, quantizers.ONNX_FLOAT)]
    assert all(row["logits_apart"] < 1e-4 for row in exact)
    sizes = {row["side"]: row["megabytes"] for row in rows}
    assert sizes[quantizers.ONNX] < sizes[quantizers.ONNX_FLOAT]


def test_ratios_are_of_the_same_batch_and_of_sides_that_ran() -> None:
    seconds = {(quantizers.ONNX, 1): 1.0, (quantizers.ONNX, 32): 6.0, (quantizers.EAGER, 1): 4.0}
    seconds[quantizers.EAGER, 32] = 3.0
    rows = [{"side": side, "batch": batch, "seconds": taken} for (side, batch), taken in seconds.items()]
    figures = quantizers.figures_of(rows)
    assert list(figures.values()) == [pytest.approx(0.25), pytest.approx(2.0)]
    assert set(figures) <= {goal.name for goal in quantizers.GOALS}
