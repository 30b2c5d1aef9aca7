from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from forked import run_script
from scripts import load_script

from benchmarks.paired import unpacked
from benchmarks.search import points_apart
from benchmarks.search_bench import right
from benchmarks.search_figures import GOALS, TUNED_CHOSEN, figures_of, rows_there
from benchmarks.search_methods import BITS, LADDER, OURS, TUNED, climb_ladder, paper_rounds
from benchmarks.subjects import Subject
from gaprune.errors import OptionError
from gaprune.testing import ToyNetwork

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "search.py"


@pytest.fixture(scope="module")
def search() -> ModuleType:
    return load_script(SCRIPT)


def toy(space):
    """Error, cost, loss and divergence of a genome, and the genomes asked for."""
    asked = []

    def judge(genome):
        asked.append(genome)
        error, cost = space.evaluate(space.layout.unpack(genome))
        return np.array([error, cost, error, error])

    return judge, asked


def test_the_ladder_goes_through_all_rungs_coarse_ones_first() -> None:
    space = ToyNetwork.make((3, 20, 30, 20), connections=False)
    judge, asked = toy(space)
    list(climb_ladder(space, judge, 20))
    costs = [space.cost(space.layout.unpack(genome)) for genome in asked]
    assert len(costs) == 20
    assert max(costs[:4]) > 0.7
    assert min(costs[:4]) < 0.2


def test_each_of_the_papers_rounds_stays_inside_the_one_before() -> None:
    space = ToyNetwork.make((3, 40, 60, 40), connections=False)
    judge, asked = toy(space)
    list(paper_rounds(space, judge, 60, 6, 0))
    assert len(asked) == 60
    kept = [np.stack([space.layout.unpack(g) for g in asked[start : start + 12]]) for start in range(0, 60, 12)]
    for before, after in itertools.pairwise(kept):
        assert any((after <= parent).all() for parent in before), "a round works on one network of the round before"
        assert after.sum(1).max() < before.sum(1).min()


def test_differences_are_paired_by_image() -> None:
    ours = np.array([True] * 60 + [False] * 40)
    theirs = np.array([True] * 50 + [False] * 50)
    apart = points_apart(ours, theirs)
    assert apart["points"] == 10
    low, high = apart["interval"]
    assert 0 < low < 10 < high
    assert points_apart(theirs, ours)["interval"] == pytest.approx([-high, -low], abs=2)
    assert points_apart(ours, ours) == {"points": 0.0, "interval": [0.0, 0.0]}


def test_which_images_are_right_comes_back_as_it_was(subject: Subject) -> None:
    images = subject.splits.test
    found = unpacked(right(subject.model, images, subject), len(images))
    assert float(found.mean()) == pytest.approx(subject.accuracy(subject.model, images), abs=0.01)


def test_the_benchmark_runs_and_says_how_far_each_method_is_over_the_ladder(search: ModuleType, tmp_path: Path) -> None:
    arguments = ["--quick", "--seeds", "1", "--methods", "tuned", "nsga2", "bits", "--output", str(tmp_path)]
    made = run_script(SCRIPT, *arguments)
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("search-*-quick.json")
    result = json.loads(file.read_text())
    rows = {row["method"]: row for row in result["rows"]}
    assert {LADDER, TUNED_CHOSEN, f"{TUNED}, divergence: best by fitness", f"{OURS}, accuracy: chosen"} <= set(rows)
    for row in rows.values():
        assert all(entry["flops_share"] <= float(budget[:-1]) / 100 for budget, entry in row["budgets"].items())
    assert rows[LADDER]["budgets"]["50%"]["over the ladder"]["points"] == 0
    assert rows[TUNED_CHOSEN]["budgets"]["25%"]["trained"]["over the ladder"]["interval"]
    assert any("search less test accuracy" in name for name in result["figures"])
    assert list(tmp_path.glob("search-*-quick.png"))
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"


def test_goals_are_figures_of_the_rows_that_gaprune_hands_out(search: ModuleType) -> None:
    def row(method: str, points: float) -> dict:
        apart = {"points": points, "interval": [points - 1, points + 1]}
        entry = {"test": 0.7, "search": 0.71, "over the ladder": apart, "trained": {"over the ladder": apart}}
        budgets = {"50%": entry, "25%": entry, "20%": entry, "10%": entry, "5%": entry}
        return {"method": method, "budgets": budgets, "hypervolume": [0.1, 0.5, 0.6]}

    rows = [row(TUNED_CHOSEN, 1.0), row(TUNED_CHOSEN, 3.0), row(f"{BITS}, accuracy", 9.0)]
    rows[2]["hypervolume"] = [0.0, 0.4, 0.45]
    figures = figures_of("resnet18-imagenet", rows, 0.8)
    assert set(figures) == {goal.name for goal in GOALS if goal.name.startswith("resnet18")}
    assert figures["resnet18-imagenet: over the ladder, polished, 10%, mean of seeds"] == 2.0
    assert figures["resnet18-imagenet: over the ladder, trained, 10%, lowest end of an interval"] == 0.0
    assert figures["resnet18-imagenet: loss at 10%"] == pytest.approx(10.0)
    assert figures["resnet18-imagenet: search less test accuracy of what is handed out"] == pytest.approx(1.0)
    assert figures[f"resnet18-imagenet: evaluations to the last of {BITS}, worst seed"] == 2


def test_rows_of_other_methods_are_taken_from_a_result_of_the_same_settings(tmp_path: Path) -> None:
    file, settings = tmp_path / "result.json", {"budgets": (0.5, 0.1), "seeds": 5}
    earlier = [{"method": "a", "seed": 0}, {"method": "b", "seed": 0}]
    file.write_text(json.dumps({"settings": {"budgets": [0.5, 0.1], "seeds": 5}, "rows": earlier}))
    assert rows_there(file, settings, [{"method": "a", "seed": 1}]) == [{"method": "b", "seed": 0}]
    with pytest.raises(OptionError, match="has other seeds"):
        rows_there(file, settings | {"seeds": 3}, [])
    with pytest.raises(OptionError, match=r"beside needs an earlier result, .*none.json cannot be read"):
        rows_there(tmp_path / "none.json", settings, [])
