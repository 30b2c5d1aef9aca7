from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import pytest
from forked import run_script
from scripts import load_script

from benchmarks.subjects import Subject
from gaprune.errors import OptionError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "finetuned.py"


@pytest.fixture(scope="module")
def finetuned() -> ModuleType:
    return load_script(SCRIPT)


def row(method: str, seed: int, test: float, *, winner: bool = True) -> dict[str, object]:
    return {"method": method, "budget": 0.1, "seed": seed, "test_accuracy": test, "winner": winner}


def test_only_winners_count_and_their_seeds_are_averaged(finetuned: ModuleType) -> None:
    rows = [row("gaprune", 0, 0.8), row("gaprune", 1, 0.9), row("Torch-Pruning", 0, 0.7), row("Torch-Pruning", 1, 0.9)]
    rows.append(row("Torch-Pruning", 0, 0.99, winner=False))
    assert finetuned.figures_of("vgg16", rows) == {"vgg16: ahead of Torch-Pruning at 10%": pytest.approx(5.0)}
    assert finetuned.figures_of("vgg16", rows[:2]) == {}, "nothing is ahead of nobody"


@pytest.mark.parametrize(("name", "goals"), [("resnet18-imagenet", 4), ("resnet18", 0), ("vgg16", 1)])
def test_a_goal_for_one_stem_is_not_checked_with_the_other(
    finetuned: ModuleType, subject: Subject, name: str, goals: int
) -> None:
    named = dataclasses.replace(subject, name=f"{name}-{subject.data.name}")
    sides = (finetuned.OURS, finetuned.PEER)
    wanted = [(side, budget, seed) for side in sides for budget in finetuned.BUDGETS for seed in range(3)]
    rows = [row(side, seed, 0.8) | {"budget": budget} for side, budget, seed in wanted]
    figures = finetuned.figures_of(named.variant, rows)
    assert len(figures.keys() & {goal.name for goal in finetuned.GOALS}) == goals


def test_goals_that_want_three_seeds_are_not_held_by_two(finetuned: ModuleType) -> None:
    rows = [row(side, seed, 0.8) for side in (finetuned.OURS, finetuned.PEER) for seed in range(2)]
    assert finetuned.figures_of("resnet18-imagenet", rows) == {}
    assert finetuned.figures_of("vgg16", rows)


def test_a_budget_that_a_side_cannot_reach_is_told_before_anything_is_trained(finetuned: ModuleType) -> None:
    sweep = [{"budget": 0.5, "failure": "no ratio gets down to this budget"}]
    with pytest.raises(OptionError, match=r"shares of the FLOPs that both sides reach: 0\.5 is not"):
        finetuned.peers(None, sweep, (0.5,), 2)


def test_every_finalist_is_tuned_once_and_the_best_from_every_seed(finetuned: ModuleType) -> None:
    asked = []

    def tune(candidate: str, budget: float, seed: int) -> dict[str, object]:
        asked.append((candidate, seed))
        return {"setting": candidate, "search_accuracy": {"a": 0.5, "b": 0.7, "c": 0.6}[candidate]}

    rows = finetuned.compared(tune, ["a", "b", "c"], 0.1, 3, "search_accuracy")
    assert asked == [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("b", 2)]
    assert [row["setting"] for row in rows if row.get("winner")] == ["b"] * 3


def test_the_benchmark_compares_both_sides_at_every_budget(finetuned: ModuleType, tmp_path: Path) -> None:
    made = run_script(SCRIPT, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("finetuned-*-quick.json")
    assert file.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {f"small: ahead of Torch-Pruning at {budget}" for budget in ("50%", "20%")}
    for budget in finetuned.QUICK["budgets"]:
        for side in (finetuned.OURS, finetuned.PEER):
            rows = [row for row in result["rows"] if row["budget"] == budget and row["method"] == side]
            assert len([row for row in rows if row.get("winner")]) == finetuned.QUICK["seeds"]
            assert all(row["flops_share"] <= budget for row in rows)
    assert not list(tmp_path.glob(".*")), "the work file and the states go when the work is done"
