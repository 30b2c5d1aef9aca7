from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scratch_vs_pruned
import search_and_recover
import structural_distillation
import torch
from paper import NETWORKS

from gaprune.models import build

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def smoke(name: str, output: Path) -> tuple[dict[str, object], str]:
    """A smoke run in a process of its own; its result and its tables."""
    command = [sys.executable, str(EXPERIMENTS / f"{name}.py"), "--quick", "--output", str(output)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert made.returncode == 0, made.stderr
    (file,) = output.glob(f"{name}-*-quick.json")
    text = file.read_text()
    assert str(output) not in text
    return json.loads(text), file.with_suffix(".md").read_text()


@pytest.mark.slow
def test_structural_distillation_tells_of_rounds_and_budgets(tmp_path: Path) -> None:
    result, text = smoke("structural_distillation", tmp_path)
    rounds, quick = result["rounds"], structural_distillation.QUICK
    assert [row["round"] for row in rounds] == 2 * list(range(quick["rounds"] + 1))
    assert [row["training_seconds"] > 0 for row in rounds] == [False, False, False, False, True, True]
    for before, after in itertools.pairwise(rounds[: quick["rounds"] + 1]):
        assert after["params"] < before["params"]
        assert all(after["neurons"][name] <= width for name, width in before["neurons"].items())
    for row in result["rows"]:
        assert row["params"] <= row["budget_params"]
    for heading in ("Table 1", "Tables 2 and 3", "Table 5", "parameter budgets"):
        assert heading in text


def test_the_papers_rows_stand_beside_ours() -> None:
    paper = NETWORKS["vgg16"]
    neurons = {f"conv{place}": width for place, width in enumerate(paper.rounds[0].neurons)}
    ours = {"params": 13_000_000, "megabytes": 50.0, "test_accuracy": 0.85, "flops": 3e8, "seconds": 9.0}
    rows = [{"round": number, "neurons": neurons, "training_seconds": 0.0, **ours} for number in range(3)]
    table = structural_distillation._table_2(paper, rows)
    assert "| 2 | the paper | 3.1 | 11.882 | 0.8597 | 48.5 | 491.52 |" in table
    assert "| 2 | gaprune | 13.000 | 50.0 | 0.8500 | 300.000 | 9.0 | 0.0 |" in table
    widths = structural_distillation._table_5(paper, rows)
    assert "| conv0 | 64 | 64 | 64 | 39 | 64 |" in widths
    resnet = structural_distillation._table_5(NETWORKS["resnet18"], rows)
    assert "| 17 | 512 | 252 | 124 | 61 | 31 |" in resnet


@pytest.mark.parametrize(
    ("rows", "figure"),
    [
        ([{"paper_top1": 0.8, "test_accuracy": 0.9}, {"paper_top1": 0.7, "test_accuracy": 0.76}], 6.0),
        ([{"paper_top1": 0.8, "test_accuracy": 0.9}, {"paper_top1": 0.7, "missing": "none"}], None),
        ([{"paper_top1": None, "test_accuracy": 0.9}], None),
    ],
)
def test_the_worst_budget_counts_and_none_may_be_missing(rows: list[dict[str, float]], figure: float | None) -> None:
    figures = structural_distillation.figures_of("vgg16", rows)
    assert figures == ({} if figure is None else {structural_distillation.GOALS[0].name: figure})


@pytest.mark.slow
def test_scratch_and_pruned_are_compared_at_each_budget(tmp_path: Path) -> None:
    result, text = smoke("scratch_vs_pruned", tmp_path)
    quick = scratch_vs_pruned.QUICK
    seeds, schedules, budgets = quick["seeds"], len(quick["scratch_epochs"]), len(quick["budgets"])
    methods = [row["method"] for row in result["rows"]]
    assert methods.count(scratch_vs_pruned.PRUNED) == seeds * budgets
    assert methods.count(scratch_vs_pruned.SCRATCH) == seeds * schedules * budgets
    assert "Table 4" in text
    assert not list(tmp_path.glob(".scratch-vs-pruned-quick/scratch-states/*"))


def line(method: str, accuracy: float, seconds: float, epochs: int = 1) -> dict[str, object]:
    return {"method": method, "budget": 0.5, "epochs": epochs, "test_accuracy": accuracy, "seconds": seconds}


def test_scratch_is_judged_by_the_first_schedule_with_as_much_time() -> None:
    pruned, scratch = scratch_vs_pruned.PRUNED, scratch_vs_pruned.SCRATCH
    rows = [line(pruned, 0.80, 10), line(pruned, 0.82, 10), line(scratch, 0.70, 5), line(scratch, 0.79, 12, 2)]
    ours, *_ = scratch_vs_pruned.compared([*rows, line(scratch, 0.9, 40, 3)])
    assert ours["above_scratch"] == pytest.approx(2.0)
    assert ours["scratch_reaches_it_in_seconds"] == 40
    assert scratch_vs_pruned.figures_of("vgg16", [ours]) == {scratch_vs_pruned.GOALS[0].name: pytest.approx(2.0)}
    short, *_ = scratch_vs_pruned.compared(rows[:3])
    assert short["scratch_reaches_it_in_seconds"] is None
    assert scratch_vs_pruned.figures_of("vgg16", [short]) == {}, "scratch never had as much time"


def test_fresh_weights_are_drawn_by_seed_for_every_layer() -> None:
    networks = [scratch_vs_pruned.fresh(build("resnet18", 10), seed).state_dict() for seed in (0, 0, 1)]
    weights = [name for name, tensor in networks[0].items() if tensor.ndim > 1]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert not any(torch.equal(networks[0][name], networks[2][name]) for name in weights)
    own = torch.nn.Module()
    own.scale = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="scale cannot be drawn anew"):
        scratch_vs_pruned.fresh(own, 0)


@pytest.mark.slow
def test_searching_again_is_compared_with_one_search_of_as_many_evaluations(tmp_path: Path) -> None:
    result, text = smoke("search_and_recover", tmp_path)
    assert [row["iteration"] for row in result["iterations"]] == ["1", "2"]
    assert {row["side"] for row in result["rows"]} == {search_and_recover.ITERATED, search_and_recover.ONCE}
    quick = search_and_recover.QUICK
    epochs = {search_and_recover.ITERATED: quick["epochs"], search_and_recover.ONCE: 2 * quick["epochs"]}
    assert all(row["epochs"] == epochs[row["side"]] for row in result["rows"])
    assert all(row["flops_share"] <= row["budget"] for row in result["rows"])
    assert "search, recover, search again" in text


def test_both_sides_are_compared_where_both_have_a_member() -> None:
    iterated, once = search_and_recover.ITERATED, search_and_recover.ONCE
    numbers = ((iterated, 0.25, 0.5, 0.8), (iterated, 0.1, 0.4, 0.6), (once, 0.25, 0.45, 0.82))
    rows = [
        {"side": side, "budget": budget, "test_accuracy_before_training": before, "test_accuracy": after}
        for side, budget, before, after in numbers
    ]
    figures = search_and_recover.figures_of("vgg16", {iterated: 0.7, once: 0.6}, rows)
    assert list(figures.values()) == [pytest.approx(0.1), pytest.approx(5.0), pytest.approx(-2.0)]
    assert list(figures) == [goal.name for goal in search_and_recover.GOALS[:3]]
