from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script
from tiny_texts import write_encoder, write_tsv

from gaprune.text.rows import ROWS
from gaprune.text.table import Figures

SCRIPT = Path(__file__).parents[2] / "experiments" / "text_compression.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_the_goals_figures_are_made_of_the_rows(script: ModuleType) -> None:
    table = {row.chain: Figures(row.size, row.f1, row.f1 - 0.01, row.f1 + 0.01, None, 1.0) for row in ROWS}
    order, apart = script._names("sms-spam")
    figures = script._figures("sms-spam", [table, table])
    assert figures[order] == figures[apart] == 0
    assert figures[script.LOST] == pytest.approx(0.966 - 0.951)
    worse = table | {"quantize": Figures(500.0, 0.9, 0.89, 0.91, None, 1.0)}
    figures = script._figures("sms-spam", [table, worse])
    assert (figures[order], figures[apart]) == (1, 1)
    assert {goal.name for goal in script.GOALS} > set(figures)


@pytest.mark.slow
def test_the_experiment_runs(tmp_path: Path, script: ModuleType) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    words = ["--data", str(write_tsv(tmp_path / "reviews.tsv")), "--encoder", str(encoder), "--threads", "1"]
    words += ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "results"), "--quick"]
    made = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (file,) = (tmp_path / "results").glob("text_compression-reviews-*-quick.json")
    rows = json.loads(file.read_text())["rows"]
    assert set(rows) == set(script.QUICK)
    assert all(row["size"] > 0 and len(row["by seed"]) == 1 for row in rows.values())
