from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from forked import run_script

from benchmarks import fitness
from benchmarks.subjects import Subject, study
from gaprune.progress import SILENT


def test_the_first_candidate_is_the_ladders_rung_and_the_others_are_about_as_dear(subject: Subject) -> None:
    _, space = study(subject, SILENT)
    found = [space.cost(space.layout.unpack(genome)) for genome in fitness.candidates(space, 0.4, 4)]
    assert found == pytest.approx([0.4] * 4, rel=0.2)
    assert len(set(fitness.candidates(space, 0.4, 4))) > 1


def test_the_original_is_nowhere_away_from_itself_at_any_temperature() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(20, 5), torch.randint(5, (20,))
    found = fitness.kinds(logits, logits, labels)
    assert all(abs(found[f"divergence, T={t:g}"]) < 1e-6 for t in fitness.TEMPERATURES)
    worse = fitness.kinds(logits + torch.randn(20, 5), logits, labels)
    assert worse["divergence, T=1"] > 0


def test_a_fitness_that_ranks_as_the_test_images_do_correlates_wholly() -> None:
    def row(budget: float, value: float) -> dict:
        good = {"accuracy": 1 - value, "loss": value, "divergence, T=1": value}
        return {"budget": budget, "held out, 10": good, "augmented training images, 10": good, "test, 20": good}

    lines = fitness.correlations([row(0.5, value) for value in (0.1, 0.2, 0.3, 0.4)])
    assert {line["with test loss"] for line in lines} == {1.0}
    assert fitness.figures_of(lines, 10) == {goal.name: 0.0 for goal in fitness.GOALS}


def test_the_benchmark_runs_and_keeps_what_it_has_measured(tmp_path: Path) -> None:
    made = run_script(fitness.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("fitness-*-quick.json")
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {goal.name for goal in fitness.GOALS}
    assert len(result["rows"]) == fitness.QUICK["networks"] * len(fitness.QUICK["budgets"])
