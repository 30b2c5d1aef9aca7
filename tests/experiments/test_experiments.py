from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import harness, pictures
from benchmarks.paired import packed
from benchmarks.running import Setting
from experiments import gpu_goals, robustness, scratch_vs_pruned, search_and_recover, structural_distillation
from experiments.paper import NETWORKS, Network
from gaprune.commands.search import SearchResult
from gaprune.errors import RunError
from gaprune.models import build
from gaprune.options import UNDER_ATTACK
from gaprune.progress import SILENT
from gaprune.runs import FrontRow

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_a_search_without_wall_time_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: argparse.Namespace) -> dict[str, object]:
        (tmp_path / "manifest.json").write_text("{}")
        here, found = Setting("vgg16", "cifar10", {}, tmp_path, SILENT), SearchResult(tmp_path, [], None)
        return {"rows": scratch_vs_pruned.pruned_rows(here, found, None, 0.5, scratch_vs_pruned.QUICK)}

    monkeypatch.setattr(sys, "argv", ["scratch_vs_pruned.py"])
    assert harness.run(scratch_vs_pruned.__file__, (), measure) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("was searched by a version that kept no wall time: remove it, and search again")


def smoke(name: str, output: Path, *words: str) -> tuple[dict[str, object], str]:
    """A smoke run in a process of its own; its result and its tables."""
    command = [sys.executable, str(EXPERIMENTS / f"{name}.py"), "--quick", "--output", str(output), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert made.returncode == 0, made.stderr
    (file,) = output.glob(f"{name}-*-quick.json")
    text = file.read_text()
    assert str(output) not in text
    return json.loads(text), file.with_suffix(".md").read_text()


def picture(output: Path) -> bytes:
    """The one picture of a smoke run, which has the name of its result."""
    (file,) = output.glob("*-quick.json")
    return file.with_suffix(".png").read_bytes()


@pytest.mark.slow
def test_structural_distillation_tells_of_rounds_and_budgets(tmp_path: Path) -> None:
    result, text = smoke("structural_distillation", tmp_path)
    rounds, quick = result["rounds"], structural_distillation.QUICK
    assert [row["round"] for row in rounds] == 2 * list(range(quick["rounds"] + 1))
    assert [row["training_seconds"] > 0 for row in rounds] == [False, False, False, False, True, True]
    for before, after in itertools.pairwise(rounds[: quick["rounds"] + 1]):
        assert after["params"] < before["params"]
        assert all(after["neurons"][name] <= width for name, width in before["neurons"].items())
        assert after["wall_seconds"] > after["evaluation_seconds"]
    for row in result["rows"]:
        assert row["search_seconds"] > 0
        assert row["params"] <= row["budget_params"]
    assert picture(tmp_path)[:4] == b"\x89PNG"
    for heading in ("Table 1", "Tables 2 and 3", "Table 5", "parameter budgets"):
        assert heading in text


def ours(network: Network) -> list[dict[str, object]]:
    """Rows as ``rounds_of`` makes them, two rounds, of a network whose widths are told from the paper's."""
    neurons = {f"conv{place}": 1000 + place for place in range(1, network.convolutions + 1)}
    costs = {"params": 13_000_000, "params_share": 0.875, "megabytes": 50.0, "flops": 3e8}
    row = {**costs, "test_accuracy": 0.85, "wall_seconds": 9.04, "training_seconds": 0.0, "neurons": neurons}
    return [{"round": number, **row} for number in range(3)]


def report_of(name: str) -> str:
    """The tables of a network with the paper's rows beside ours."""
    paper = NETWORKS[name]
    rows, here = ours(paper), Setting(name, "cifar10", {}, Path("work"), SILENT)
    own: list[dict[str, object]] = [
        {"budget_params": 3_000_000, "paper_top1": 0.8597, "missing": "no member is so small"},
        {
            "budget_params": 900_000,
            "paper_top1": 0.8551,
            "test_accuracy_before_training": 0.7,
            "test_accuracy": 0.9,
            "params": 890_000,
            "flops": 5e7,
            "training_seconds": 7.5,
        },
    ]
    original = {**rows[0], "layers": paper.convolutions + 1}
    return structural_distillation.report(here, paper, original, {0: rows, 2: rows}, own)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "vgg16",
            [
                "| the paper | 14,849,345 | 16 | 56.13 |  |",
                "| gaprune | 13,000,000 | 14 | 50.0 | 0.85 |",
                "| 1 | the paper | 13.2 | 14,714,688 | 53.438 | 0.8571 | 7 | 60.1 | 543.81 |  |",
                "| 2 | the paper | 3.1 | 2,997,498 | 11.882 | 0.8597 | 21 | 48.5 | 491.52 |  |",
                "| 2 | gaprune | 13.000 |  | 50.0 | 0.8500 | 12.5 | 300.000 | 9.0 | 0.0 |",
                "| conv1 | 1001 | 64 | 1001 | 39 | 1001 |",
                "| conv13 | 1013 | 512 | 1013 | 205 | 1013 |",
                "| 900,000 | 0.8551 | 0.7000 | 0.9000 | 890,000 | 50.00 | 7.5 |",
                "| 3,000,000 | 0.8597 | no member is so small |  |  |  |  |",
            ],
        ),
        (
            "resnet18",
            [
                "| the paper | 11,689,512 | 72 | 57.42 |  |",
                "| 2 | the paper | 3.0 | - | 11.529 | 0.7213 | 26 | 1.080 | 332.46 |  |",
                "| conv18 | 1018 | 512 | 1018 | 252 | 1018 |",
                "| conv19 | 1019 | - | 1019 | - | 1019 |",
                "| conv20 | 1020 | - | 1020 | - | 1020 |",
            ],
        ),
    ],
)
def test_the_papers_rows_stand_beside_ours(name: str, lines: list[str]) -> None:
    text = report_of(name)
    for line in lines:
        assert line in text.splitlines()
    assert ("| FLOPs, 1e6 | GA" in text) == (name == "vgg16"), "the unit is printed for VGG16 alone"


def test_a_round_that_kept_no_wall_time_shows_a_dash() -> None:
    paper = NETWORKS["resnet18"]
    rows = [{**row, "wall_seconds": None} for row in ours(paper)]
    assert "| 12.5 | 300.000 | - | 0.0 |" in structural_distillation._table_2(paper, rows, [None] * 5)


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
    assert methods.count(scratch_vs_pruned.PRUNED) == seeds * len(quick["epochs"]) * budgets
    assert methods.count(scratch_vs_pruned.UNTUNED) == budgets
    scratch = methods.count(scratch_vs_pruned.SCRATCH)
    assert scratch in (seeds * schedules * budgets, seeds * (schedules + 1) * budgets), "one more, if all were short"
    run = tmp_path / ".scratch-vs-pruned-quick" / "search"
    searching = json.loads((run / "manifest.json").read_text())["wall_seconds"]
    evaluated = sum(json.loads(one)["seconds"] for one in (run / "evaluations.jsonl").read_text().splitlines())
    assert searching > evaluated
    for row in result["rows"]:
        assert row["parts"].get("search") == (None if row["method"] == scratch_vs_pruned.SCRATCH else searching)
    assert picture(tmp_path)[:4] == b"\x89PNG"
    assert "| 50% | 100.00 | - | - |" in text, "nobody is always right"
    assert "Table 4" in text
    assert not list(tmp_path.glob(".scratch-vs-pruned-quick/scratch-states/*"))


def line(method: str, accuracy: float, seconds: float, epochs: int = 1) -> dict[str, object]:
    return {"method": method, "budget": 0.5, "epochs": epochs, "test_accuracy": accuracy, "seconds": seconds}


def scratch_figures(lines: list[dict[str, object]]) -> dict[str, float]:
    """Figures of lines of one budget and one seed, taken for two of each."""
    both = [one | {"budget": budget, "seeds": 2} for one in lines for budget in (0.5, 0.1)]
    return scratch_vs_pruned.figures_of("vgg16", both, (0.5, 0.1))


def test_a_goal_wants_several_budgets_all_of_those_asked_for_and_several_seeds() -> None:
    ours = line(scratch_vs_pruned.PRUNED, 0.8, 10) | {"above_scratch": 1.0, "scratch_had_as_much_time": True}
    lines = [ours | {"budget": budget, "seeds": 2} for budget in (0.5, 0.1)]
    assert scratch_vs_pruned.figures_of("vgg16", lines, (0.5, 0.1)) == {scratch_vs_pruned.GOALS[0].name: 1.0}
    assert scratch_vs_pruned.figures_of("vgg16", lines, (0.5, 0.25, 0.1)) == {}, "no member at 25%"
    assert scratch_vs_pruned.figures_of("vgg16", lines[:1], (0.5,)) == {}, "one budget"
    assert scratch_vs_pruned.figures_of("vgg16", [one | {"seeds": 1} for one in lines], (0.5, 0.1)) == {}


@pytest.mark.parametrize(("above", "told"), [(1.0, []), (-1.0, [-1.0])])
def test_scratch_that_had_less_time_tells_something_only_where_it_is_ahead(above: float, told: list[float]) -> None:
    ours = line(scratch_vs_pruned.PRUNED, 0.8, 10) | {"above_scratch": above, "scratch_had_as_much_time": False}
    assert list(scratch_figures([ours]).values()) == told


def test_where_no_schedule_from_scratch_takes_as_long_one_more_does() -> None:
    def scratch(member: None, budget: float, epochs: int, seed: int) -> dict[str, float]:
        return {"epochs": epochs, "seed": seed, "seconds": 2.0 * epochs + seed}

    settings = {"scratch_epochs": (5, 10), "seeds": 2, "match_time": True}
    epochs = [row["epochs"] for row in scratch_vs_pruned.scratch_rows(scratch, None, 0.5, settings, 60.0)]
    assert epochs == [5, 5, 10, 10, 30, 30]
    for plain, seconds in ((settings, 21.0), ({**settings, "match_time": False}, 60.0)):
        rows = scratch_vs_pruned.scratch_rows(scratch, None, 0.5, plain, seconds)
        assert [row["epochs"] for row in rows] == [5, 5, 10, 10]


def test_seconds_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    here = Setting("vgg16", "cifar10", {}, tmp_path, SILENT)
    versions = tmp_path / "versions.json"
    versions.write_text(json.dumps([{"code": "a", "cpu": "x"}, {"code": "b", "cpu": "x"}]))
    scratch_vs_pruned.check_machines(here)
    versions.write_text(json.dumps([{"code": "a", "cpu": "x"}, {"code": "a", "cpu": "y"}]))
    with pytest.raises(RunError, match="was worked on by x and y: name another folder by --work"):
        scratch_vs_pruned.check_machines(here)


def test_a_schedule_is_told_by_its_own_training_or_by_none(tmp_path: Path) -> None:
    row = FrontRow(0, "key", {}, 0.7, 0.65, 100, 0.1, 10, 0.1, 0.1, path="front/00")
    home = tmp_path / row.home
    home.mkdir(parents=True)
    one = {"recipe": {"epoch_images": None}, "lesson": {}, "seconds": 9.04, "test_accuracy": 0.6}
    trainings = [{"epochs": 4, "search_accuracy": 0.8}, {"epochs": 10, "search_accuracy": 0.9}]
    trainings += [
        {"epochs": 4, "search_accuracy": 1.0, "lesson": {"shared": "x"}},
        {"epochs": 2, "search_accuracy": 0.6},
    ]
    (home / "metrics.json").write_text(json.dumps({"finetuned": [one | training for training in trainings]}))
    here = Setting("vgg16", "cifar10", {}, tmp_path, SILENT)
    found = {epochs: here.outcome(tmp_path, row, epochs) for epochs in (2, 4, 10)}
    assert {epochs: one["search_accuracy"] for epochs, one in found.items()} == {2: 0.7, 4: 0.8, 10: 0.9}
    assert {epochs: one["trained_epochs"] for epochs, one in found.items()} == {2: 0, 4: 4, 10: 10}
    assert found[2]["training_seconds"] == 9.0


def test_scratch_is_judged_by_the_first_schedule_with_as_much_time() -> None:
    pruned, scratch = scratch_vs_pruned.PRUNED, scratch_vs_pruned.SCRATCH
    rows = [line(pruned, 0.80, 10), line(pruned, 0.82, 10), line(scratch, 0.70, 5), line(scratch, 0.79, 12, 2)]
    ours, *_ = scratch_vs_pruned.compared([*rows, line(scratch, 0.9, 40, 3)])
    assert ours["above_scratch"] == pytest.approx(2.0)
    assert ours["scratch_reaches_it_in_seconds"] == 40
    assert scratch_figures([ours]) == {scratch_vs_pruned.GOALS[0].name: pytest.approx(2.0)}
    short, *_ = scratch_vs_pruned.compared(rows[:3])
    assert short["scratch_reaches_it_in_seconds"] is None
    assert scratch_figures([short]) == {}, "scratch never had as much time"


def test_every_schedule_of_ours_counts_towards_the_goal_and_what_is_not_fine_tuned_does_not() -> None:
    pruned, scratch = scratch_vs_pruned.PRUNED, scratch_vs_pruned.SCRATCH
    rows = [line(pruned, 0.80, 10, 5), line(pruned, 0.85, 20, 10), line(scratch, 0.81, 15), line(scratch, 0.82, 30, 2)]
    lines = scratch_vs_pruned.compared([*rows, line(scratch_vs_pruned.UNTUNED, 0.1, 5, 0)])
    assert [one.get("above_scratch") for one in lines] == [pytest.approx(-1.0), pytest.approx(3.0), None, None, None]
    assert scratch_figures(lines) == {scratch_vs_pruned.GOALS[0].name: pytest.approx(-1.0)}


def test_the_time_to_an_accuracy_is_that_of_the_shortest_schedule_that_reaches_it() -> None:
    pruned, scratch = scratch_vs_pruned.PRUNED, scratch_vs_pruned.SCRATCH
    rows = [line(scratch_vs_pruned.UNTUNED, 0.72, 50, 0), line(pruned, 0.8, 60, 5), line(pruned, 0.79, 70, 10)]
    lines = scratch_vs_pruned.compared([*rows, line(scratch, 0.7, 30), line(scratch, 0.78, 90, 2)])
    found = scratch_vs_pruned.times_to_reach(lines, (0.75, 0.9))
    assert {one["accuracy"]: (one["pruned"], one["scratch"]) for one in found} == {
        0.7: (50, 30),
        0.72: (50, 90),
        0.75: (60, 90),
        0.78: (60, 90),
        0.79: (60, None),
        0.8: (60, None),
        0.9: (None, None),
    }


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
def test_the_goals_for_a_gpu_are_gone_for_from_a_baseline_trained_here(tmp_path: Path) -> None:
    result, text = smoke("gpu_goals", tmp_path)
    assert (tmp_path / ".gpu-goals-quick" / "baseline" / "model.safetensors").exists()
    assert "trained on digits" in result["original"]["source"]
    wanted = gpu_goals.QUICK_TARGETS
    assert set(result["figures"]) == {target.name for target in wanted}
    for row, target in zip(result["rows"], wanted, strict=True):
        assert row["flops_share"] <= target.flops
        assert row["params"] <= (target.params or result["original"]["params"])
        assert row["training_seconds"] > 0
        assert target.name in text


def test_each_goal_for_a_gpu_is_of_one_network_and_its_limits() -> None:
    assert [(goal.name, goal.number) for goal in gpu_goals.GOALS] == [
        ("vgg16 with 4% of the FLOPs and at most 0.24 million parameters", 92.54),
        ("resnet18 with 19.4% of the FLOPs", 92.95),
        ("resnet18 with 9.6% of the FLOPs", 92.03),
    ]
    assert gpu_goals.TARGETS[0].limits == {"max_flops": 0.04, "max_params": 240_000}
    assert gpu_goals.TARGETS[2].limits == {"max_flops": 0.096}
    rows = [{"target": gpu_goals.GOALS[0].name, "test_accuracy": 0.93}, {"target": "x", "missing": "none"}]
    assert gpu_goals.figures_of(rows) == {gpu_goals.GOALS[0].name: 93.0}


def test_the_other_stem_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "resnet18", "--stem", "imagenet", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gpu_goals.py", *words])
    assert harness.run(gpu_goals.__file__, gpu_goals.GOALS, gpu_goals.measure, arguments=gpu_goals.arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("error: stem must be cifar, which the goals are for, got imagenet")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_small_network_is_attacked_before_and_after(tmp_path: Path) -> None:
    result, text = smoke("robustness", tmp_path)
    assert result["rows"]
    assert all(row["flops_share"] <= row["budget"] for row in result["rows"])
    assert {row["state"] for row in result["rows"]} == {robustness.PRUNED, robustness.TUNED}
    assert "under attack, 40 test images" in text


@pytest.mark.slow
def test_members_of_a_search_that_lies_elsewhere_are_attacked(tmp_path: Path) -> None:
    here, _ = smoke("robustness", tmp_path)
    (searched,) = tmp_path.rglob("searched")
    moved = tmp_path / "elsewhere"
    searched.rename(moved)
    there, _ = smoke("robustness", tmp_path, "--run", str(moved))
    assert there["rows"] == here["rows"]
    assert not list(tmp_path.rglob("searched"))


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


def test_both_sides_are_compared_where_both_have_every_member() -> None:
    iterated, once = search_and_recover.ITERATED, search_and_recover.ONCE
    rows = [
        {"side": side, "budget": budget, "test_accuracy_before_training": before, "test_accuracy": after}
        for side, before, after in ((iterated, 0.5, 0.8), (once, 0.45, 0.82))
        for budget in search_and_recover.BUDGETS
    ]
    volumes = {iterated: 0.7, once: 0.6}
    figures = search_and_recover.figures_of("vgg16", 2, volumes, rows)
    assert list(figures.values()) == [pytest.approx(0.1), pytest.approx(5.0), pytest.approx(-2.0)]
    assert list(figures) == [goal.name for goal in search_and_recover.GOALS[:3]]
    assert list(search_and_recover.figures_of("vgg16", 2, volumes, rows[:-1])) == [search_and_recover.GOALS[0].name]
    assert search_and_recover.figures_of("vgg16", 1, volumes, rows) == {}, "one iteration is the other side's search"
    assert search_and_recover._missing(rows) == ""
    assert search_and_recover._missing(rows[:-1]) == "No member within the budget: one search at 5%.\n\n"


def test_a_member_is_compared_with_the_original_under_attack() -> None:
    """Eight images: clean, the original has all right and the member six; of these the attack turns 4 and 3."""
    names = [robustness.CLEAN.name, *UNDER_ATTACK]

    def rights(clean: int, attacked: int) -> dict[str, str]:
        return {n: packed(torch.arange(8) < (clean if n == names[0] else attacked)) for n in names}

    found = robustness.compared(rights(8, 2), rights(6, 3), 8)
    assert found["clean"]["more"]["points"] == -25
    for name in UNDER_ATTACK:
        assert found[name]["more"]["points"] == pytest.approx(12.5)
        low, high = found[name]["more"]["95%"]
        assert low <= 12.5 <= high
        assert found[name]["fewer_turned"]["points"] == pytest.approx(100 / 6, abs=1e-3)
        assert found[name]["fewer_turned"]["images"] == 6
        assert found[name]["fewer_turned"]["turned_of_original"] == pytest.approx(4 / 6)
    states = (robustness.PRUNED, robustness.TUNED)
    rows = [{"flops_share": share, "state": one, "attacks": found} for one in states for share in robustness.BUDGETS]
    figures = robustness.figures_of("vgg16", rows)
    assert list(figures) == [goal.name for goal in robustness.GOALS[:16]]
    assert list(robustness.figures_of("vgg16", rows[1:])) == [goal.name for goal in robustness.GOALS[8:16]]
    assert robustness.figures_of("vgg16", rows[:2]) == {}
    assert "| 50.0% | fine-tuned | pgd_8 | 25.0 | 37.5 |" in robustness.report("vgg16", "digits", 8, rows)


def test_labels_of_a_logarithmic_axis_do_not_overlap() -> None:
    ticks = [0.097, 0.1, 0.13, 0.14, 0.3, 2.8, 3.0, 10.0, 11.0]
    assert pictures.apart(ticks) == [0.097, 0.14, 0.3, 2.8, 10.0]
    assert pictures.apart([]) == []
    assert pictures.apart([5.0]) == [5.0]
