from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from forked import run_script
from scripts import load_script

from gaprune.errors import OptionError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shared.py"


@pytest.fixture(scope="module")
def shared() -> ModuleType:
    return load_script(SCRIPT)


@pytest.mark.parametrize(("members", "epochs", "polish", "expected"), [(12, 4, 1, 9), (35, 1, 0, 8), (3, 5, 2, 3)])
def test_both_ways_take_as_many_passes(
    shared: ModuleType, members: int, epochs: int, polish: int, expected: int
) -> None:
    together = shared.shared_epochs(members, epochs, polish)
    assert together == expected
    passes = min(shared.A_STEP, members) * together + members * polish
    assert members * epochs - shared.A_STEP < passes <= members * epochs


def test_polish_may_not_take_all_passes(shared: ModuleType) -> None:
    with pytest.raises(OptionError, match="polish-epochs must be below the 2 epochs of a member alone, got 2"):
        shared.shared_epochs(12, 2, 2)


@pytest.mark.parametrize(("count", "expected"), [(3, [0, 4, 9]), (20, list(range(10))), (2, [0, 9])])
def test_members_are_spread_over_the_front(shared: ModuleType, count: int, expected: list[int]) -> None:
    assert shared.spread(list(range(10)), count) == expected


@pytest.mark.slow
def test_the_benchmark_trains_a_front_both_ways(shared: ModuleType, tmp_path: Path) -> None:
    made = run_script(SCRIPT, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("shared-*-quick.json")
    result = json.loads(file.read_text())
    assert str(tmp_path) not in file.read_text()
    rows = {way: [row for row in result["rows"] if row["method"] == way] for way in ("alone", "shared")}
    assert [row["member"] for row in rows["alone"]] == [row["member"] for row in rows["shared"]]
    assert [row["before"] for row in rows["alone"]] == [row["before"] for row in rows["shared"]]
    assert {row["epochs"] for row in rows["alone"]} == {shared.QUICK["epochs"]}
    assert "quick: shared above alone" in result["figures"]
