"""The comparison of which heads go, at a tiny scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import run_script
from tiny_texts import write_encoder, write_tsv

from experiments import head_order
from experiments.head_order import GOALS, HALF, KEPT, NORM, ORDER, RANDOM, figures_of


def test_goals_speak_of_half_of_the_heads() -> None:
    def row(name: str, divergence: float, apart: list[float]) -> head_order.Row:
        return {"heads": HALF, "ranking": name, "divergence": divergence, f"cross_entropy above {NORM}": apart}

    other = {**row(ORDER, 9.0, [9.0, 9.0]), "heads": 1 / 3}
    found = figures_of([other, row(NORM, 0.2, [0.0, 0.0]), row(ORDER, 0.1, [-0.1, 0.05])])
    assert list(found) == [goal.name for goal in GOALS]
    assert list(found.values()) == pytest.approx([0.5, -0.002])


def test_it_runs_small(tmp_path: Path) -> None:
    told = {
        "--data": write_tsv(tmp_path / "reviews.tsv"),
        "--encoder": write_encoder(tmp_path / "encoder"),
        "--work": tmp_path / "work",
        "--output": tmp_path,
    }
    words = [str(word) for pair in told.items() for word in pair]
    made = run_script(head_order.__file__, "--quick", *words)
    assert made.returncode == 0, made.stderr
    result = json.loads((tmp_path / "head_order-reviews-cpu-quick.json").read_text())
    assert len(result["rows"]) == len(KEPT) * len((NORM, ORDER, RANDOM))
    assert {goal.name for goal in GOALS} == set(result["figures"])
    assert any(row["divergence"] > 0 for row in result["rows"])
    made = run_script(head_order.__file__, "--train-texts", "99999", *words)
    assert made.returncode == 2
    assert "train-texts must be at most 160, as many as there are, got 99999" in made.stderr
