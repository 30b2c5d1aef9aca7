from __future__ import annotations

import json
from pathlib import Path

from forked import run_script

from benchmarks import eight_bits

SCRIPT = Path(eight_bits.__file__)


def test_the_benchmark_has_the_original_the_same_in_onnx_runtime_and_in_8_bits(tmp_path: Path) -> None:
    made = run_script(SCRIPT, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.iterdir()
    result = json.loads(file.read_text())
    assert file.name == "eight_bits-small-digits-cpu-quick.json"
    rows = {row["chain"]: row for row in result["rows"]}
    assert tuple(rows) == eight_bits.METHODS
    assert rows["quantize"]["size_mb"] < rows["onnx"]["size_mb"]
    assert rows["none"]["metrics"]["accuracy"] == rows["onnx"]["metrics"]["accuracy"]
    assert set(result["figures"]) <= {goal.name for goal in eight_bits.GOALS}
    assert result["processor"]
