from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import strided_convolutions as benchmark

RESULT = Path(benchmark.__file__).parent / "results" / "strided_convolutions-random-images-cpu.json"


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("width", [3, 12])
def test_with_pixels_first_the_gradient_is_right(width: int) -> None:
    assert max(benchmark.gradient_error(width, shape, benchmark.GUARDED) for shape in benchmark.SHAPES[:2]) < 1e-4


def test_a_process_that_dies_costs_its_width_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two widths of every five kill it."""
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys\n"
        "for width in range(int(sys.argv[2]), 21):\n"
        "    if width % 5 in (2, 3):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    print('right', flush=True)\n"
    )
    monkeypatch.setattr(benchmark, "__file__", str(script))
    found = dict(zip(benchmark.WIDTHS, benchmark.outcomes("AVX2", benchmark.STOCK), strict=True))
    assert {width for width, outcome in found.items() if outcome == "SIGKILL"} == {2, 3, 7, 8, 12, 13, 17, 18}
    assert set(found.values()) == {"right", "SIGKILL"}


def test_the_committed_table_has_every_width_of_every_instruction_set() -> None:
    rows = json.loads(RESULT.read_text())["rows"]
    asked = [
        (isa, side, w) for isa in benchmark.ISAS for side in (benchmark.STOCK, benchmark.GUARDED) for w in range(1, 21)
    ]
    assert [(row["isa"], row["side"], row["width"]) for row in rows] == asked
    assert all(row["outcome"] == benchmark.RIGHT for row in rows if row["side"] == benchmark.GUARDED)
