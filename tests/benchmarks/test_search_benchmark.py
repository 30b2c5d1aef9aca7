from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script

from gaprune.testing import ToyNetwork

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "search.py"


@pytest.fixture(scope="module")
def search() -> ModuleType:
    return load_script(SCRIPT)


def toy(space):
    """Error, cost and loss of a genome, and the genomes asked for."""
    asked = []

    def judge(genome):
        asked.append(genome)
        error, cost = space.evaluate(space.layout.unpack(genome))
        return np.array([error, cost, error])

    return judge, asked


def test_the_ladder_goes_through_all_rungs_coarse_ones_first(search: ModuleType) -> None:
    space = ToyNetwork.make((3, 20, 30, 20), connections=False)
    judge, asked = toy(space)
    list(search.climb_ladder(space, judge, 20))
    costs = [space.cost(space.layout.unpack(genome)) for genome in asked]
    assert len(costs) == 20
    assert max(costs[:4]) > 0.7
    assert min(costs[:4]) < 0.2


def test_each_of_the_papers_rounds_stays_inside_the_one_before(search: ModuleType) -> None:
    space = ToyNetwork.make((3, 40, 60, 40), connections=False)
    judge, asked = toy(space)
    list(search.paper_rounds(space, judge, 60, 6, 0))
    assert len(asked) == 60
    kept = [np.stack([space.layout.unpack(g) for g in asked[start : start + 12]]) for start in range(0, 60, 12)]
    for before, after in itertools.pairwise(kept):
        assert any((after <= parent).all() for parent in before), "a round works on one network of the round before"
        assert after.sum(1).max() < before.sum(1).min()


def test_the_benchmark_runs_with_every_figure_that_its_goals_speak_of(search: ModuleType, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPT),
        "--quick",
        "--seeds",
        "2",
        "--control-seeds",
        "1",
        "--output",
        str(tmp_path),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("search-*-quick.json")
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {goal.name for goal in search.GOALS}
    assert [row["method"] for row in result["rows"]].count(search.OURS) == 2
    for row in result["rows"]:
        assert row["evaluations"] == search.QUICK["evaluations"]
        assert row["hypervolume"] == sorted(row["hypervolume"])
    assert list(tmp_path.glob("search-*-quick.png"))
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"


def test_one_method_measured_again_stands_beside_the_others_rows_of_the_same_settings_only(search, tmp_path):
    path, settings = tmp_path / "search-a-cpu.json", {"images": 100, "seeds": 2}
    with pytest.raises(SystemExit, match="--again needs the result of a whole run"):
        search.kept_rows(path, search.OURS, settings)
    rows = [{"method": name, "seed": seed} for name in (search.LADDER, search.OURS) for seed in (0, 1)]
    path.write_text(json.dumps({"settings": settings | {"more": 1}, "rows": rows}))
    assert search.kept_rows(path, search.OURS, settings) == rows[:2]
    with pytest.raises(SystemExit, match="was measured with other images: run without --again"):
        search.kept_rows(path, search.OURS, settings | {"images": 50})
