from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forked import run_script

pytest.importorskip("torch_pruning")

from benchmarks import oneshot
from benchmarks.oneshot import AHEAD, FAR_AHEAD, OURS, PEER, Bench, figures_of, members
from benchmarks.subjects import Subject, WorkFile
from gaprune.errors import RunError


def row(method: str, variant: str, budget: float, search: float, test: float) -> dict[str, Any]:
    return {
        "method": method,
        "variant": variant,
        "budget": budget,
        "search_accuracy": search,
        "test_accuracy": test,
    }


def test_our_row_is_picked_by_the_search_set_and_the_peers_by_the_test_set() -> None:
    rows = [
        row(OURS, "a", 0.5, search=0.90, test=0.84),
        row(OURS, "b", 0.5, search=0.80, test=0.88),
        row(PEER, "as it comes", 0.5, search=0.0, test=0.60),
        row(PEER, "BN", 0.5, search=0.0, test=0.75),
        row(OURS, "a", 0.25, search=0.70, test=0.70),
        row(PEER, "as it comes", 0.25, search=0.0, test=0.50),
        row(PEER, "BN", 0.25, search=0.0, test=0.40),
    ]
    assert figures_of("net", 0.86, rows) == {
        "net: loss at 50%": pytest.approx(2.0),
        "net: loss at 25%": pytest.approx(16.0),
        f"net: {AHEAD}": pytest.approx(9.0),
        f"net: {FAR_AHEAD}": pytest.approx(30.0),
    }


def test_every_goal_speaks_of_a_figure_that_a_run_makes() -> None:
    rows = [
        row(method, variant, budget, 0.5, 0.5)
        for budget in oneshot.BUDGETS
        for method, variant in ((OURS, "a"), (PEER, "BN"))
    ]
    made = {name for network in ("vgg16", "resnet18") for name in figures_of(network, 0.8, rows)}
    assert {goal.name for goal in oneshot.GOALS} <= made


def test_a_search_on_other_images_is_refused(subject: Subject, tmp_path: Path) -> None:
    manifest = {"data": {"splits": {"search": {"images": 1, "of": "test", "indices_sha256": "0"}}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    bench = Bench(subject, WorkFile(tmp_path / "work.jsonl", {}), [])
    with pytest.raises(RunError, match="searched on other images"):
        members(bench, tmp_path, (0.5,))


@pytest.mark.slow
def test_the_benchmark_runs_and_keeps_every_budget(tmp_path: Path) -> None:
    made = run_script(oneshot.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("oneshot-*-quick.json")
    result = json.loads(file.read_text())
    rows = result["rows"]
    assert {r["method"] for r in rows} == {PEER, oneshot.UNIFORM, oneshot.RANDOM, OURS}
    assert {r["budget"] for r in rows} == set(oneshot.QUICK_BUDGETS)
    assert all(r["flops_share"] <= r["budget"] for r in rows)
    swept = {(r["criterion"], r["scope"], r["budget"]) for r in result["peer_sweep"]}
    assert len(swept) == len(oneshot.QUICK_CRITERIA) * len(oneshot.SCOPES) * len(oneshot.QUICK_BUDGETS)
    assert not any("failure" in r for r in result["peer_sweep"])
    assert list(tmp_path.glob("oneshot-*-quick.png"))
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"
