from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import run_script
from tiny_texts import reviews, write_encoder, write_tsv

from benchmarks import text_search
from benchmarks.paired import f1_difference, packed
from benchmarks.text_search import AFTER, BEFORE, BUDGETS, GOALS, LADDER, TAYLOR, TUNED, WAYS, Paired, figures_of

LABELS = np.arange(100) < 50


def called(right: int) -> str:
    """Calls of 100 texts of which so many positives are found, and no negative is."""
    return packed(torch.arange(100) < right)


def network(way: str, before: int, after: int) -> dict[str, Any]:
    return {"way": way, "budget": "half", BEFORE: called(before), AFTER: called(after)}


def test_f1_is_compared_on_the_same_samples() -> None:
    a, b = (np.arange(100) < right for right in (40, 30))
    found = f1_difference(LABELS, a, b)
    assert found["F1"] == pytest.approx(80 / 90 - 60 / 80, abs=1e-5)
    assert found["95%"][0] < found["F1"] < found["95%"][1]
    assert f1_difference(LABELS, a, a) == {"F1": 0.0, "95%": [0.0, 0.0]}
    assert f1_difference(LABELS, ~LABELS, LABELS)["F1"] == -1.0


def test_goals_speak_of_the_tuned_search_against_the_original_and_the_gradient() -> None:
    rows = [network(LADDER, 10, 20), network(TUNED, 40, 45), network(TAYLOR, 30, 45)]
    paired = Paired(LABELS, called(50), rows)
    figures = figures_of([paired.told(row) for row in rows])
    lost = text_search._lost("half")
    assert figures[lost] == pytest.approx(1 - 80 / 90, abs=1e-5)
    assert figures[f"{lost}, {text_search.UPPER}"] > figures[lost]
    assert figures[text_search._ahead("half", BEFORE)] == pytest.approx(80 / 90 - 60 / 80, abs=1e-5)
    assert figures[text_search._ahead("half", AFTER)] == 0
    assert set(figures) < {goal.name for goal in GOALS}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("text_search")
    lines = "".join(f"{text}\t{label}\n" for text, label in [*reviews(60, seed=7), *reviews(5)])
    (folder / "dev.tsv").write_text(f"text\tlabel\n{lines}")
    told = {
        "--data": write_tsv(folder / "reviews.tsv"),
        "--search-file": folder / "dev.tsv",
        "--encoder": write_encoder(folder / "encoder"),
        "--work": folder / "work",
        "--epochs": 8,
        "--lr": "5e-3",
        "--max-length": 16,
    }
    return [str(word) for pair in told.items() for word in pair]


def test_it_runs_small_from_the_original_to_the_result(places: list[str], tmp_path: Path) -> None:
    made = run_script(text_search.__file__, "--quick", "--output", str(tmp_path), *places)
    assert made.returncode == 0, made.stderr
    result = json.loads((tmp_path / "text_search-reviews-cpu-quick.json").read_text())
    assert {(row["way"], row["budget"]) for row in result["rows"]} == {
        (way, budget) for way in WAYS for budget in BUDGETS
    }
    assert all(row["flops_share"] <= BUDGETS[row["budget"]] + 1e-9 for row in result["rows"])
    assert set(result["figures"]) == {goal.name for goal in GOALS}
    assert result["original_f1"] > 0.7
    assert result["settings"]["subject"]["texts"]["search"] <= 60, "texts that are learnt or reported on do not choose"
    assert not list(tmp_path.glob(".text_search*")), "the work file goes when the work is done"


def test_it_refuses_too_little(places: list[str]) -> None:
    made = run_script(text_search.__file__, "--quick", "--evaluations", "0", *places)
    assert made.returncode == 2
    assert "evaluations must be at least 1, got 0" in made.stderr
