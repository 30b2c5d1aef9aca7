from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from forked import run_script
from scipy import stats

from benchmarks import fidelity, rungs
from benchmarks.fidelity import candidates, interval, spearman
from benchmarks.subjects import Subject, study
from gaprune.evolve.ranked import rank
from gaprune.progress import SILENT


@pytest.mark.parametrize("levels", [3, 1000])
def test_rank_correlations_are_scipys_ties_included(levels: int) -> None:
    rng = np.random.default_rng(levels)
    a, b = rng.integers(levels, size=(2, 5, 20)).astype(float)
    wanted = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(wanted)


def test_a_judge_that_says_the_same_of_all_ranks_nothing() -> None:
    assert spearman(np.ones(5), np.arange(5.0)) == 0.0


def test_intervals_hold_the_correlation_and_shrink_with_more_genomes() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (10, 80):
        a = rng.standard_normal(count)
        b = a + 0.7 * rng.standard_normal(count)
        low, high = interval(a, b)
        assert low <= spearman(a, b) <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_candidates_differ_and_cost_about_the_budget(subject: Subject) -> None:
    space = rank(study(subject, SILENT)[1])
    found = candidates(space, 0.25, 12, seed=3)
    assert len({genome.key for genome in found}) == 12
    assert all(abs(space.cost(space.layout.unpack(genome)) / 0.25 - 1) <= 0.05 for genome in found)
    assert [g.key for g in candidates(space, 0.25, 12, seed=3)] == [g.key for g in found]


def test_a_space_without_so_many_candidates_says_so(subject: Subject) -> None:
    space = rank(study(subject, SILENT)[1])
    with pytest.raises(ValueError, match="of 5 genomes"):
        candidates(space, 1e-9, 5, seed=0)


@pytest.mark.slow
def test_the_rungs_are_measured_with_every_figure_that_goals_speak_of(tmp_path: Path) -> None:
    made = run_script(fidelity.__file__, "--rungs", "all", "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("fidelity-rungs-*-quick.json")
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {goal.name for goal in fidelity.GOALS if " with " in goal.name}
    assert len(result["rows"]) == rungs.QUICK["genomes"] * len(fidelity.BUDGETS)
    assert all(race["loss"]["candidates"] == rungs.QUICK["genomes"] for race in result["races"].values())
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"


@pytest.mark.slow
def test_the_benchmark_runs_with_every_figure_that_its_goals_speak_of(tmp_path: Path) -> None:
    made = run_script(fidelity.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("fidelity-*-quick.json")
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {goal.name for goal in fidelity.GOALS if " with " not in goal.name}
    assert len(result["rows"]) == fidelity.QUICK["genomes"] * len(fidelity.BUDGETS)
    assert all(abs(row["flops_share"] / row["budget"] - 1) <= fidelity.NEAR for row in result["rows"])
    assert list(tmp_path.glob("fidelity-*-quick.png"))
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"
