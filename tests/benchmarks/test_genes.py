from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked import run_script

from benchmarks import genes
from benchmarks.genes import thinned, within_latency
from gaprune.genome import Genome


def test_a_front_is_thinned_evenly_with_both_ends() -> None:
    front = [Genome(bytes([index])) for index in range(21)]
    assert [genome.packed[0] for genome in thinned(front, 5)] == [0, 5, 10, 15, 20]
    assert thinned(front[:2], 5) == front[:2]


def test_within_a_latency_the_search_images_choose_and_the_test_images_report() -> None:
    rows = [
        {"kind": "a", "latency_share": 0.4, "search": 0.8, "test": 0.7},
        {"kind": "a", "latency_share": 0.45, "search": 0.7, "test": 0.9},
        {"kind": "a", "latency_share": 0.9, "search": 0.95, "test": 0.95},
        {"kind": "b", "latency_share": 0.8, "search": 0.9, "test": 0.9},
    ]
    assert within_latency(rows) == {"a": {"70%": 0.7, "50%": 0.7}, "b": {}}


@pytest.mark.slow
def test_the_benchmark_runs_with_every_figure_that_its_goals_speak_of(tmp_path: Path) -> None:
    made = run_script(genes.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("genes-*-quick.json")
    result = json.loads(file.read_text())
    assert set(result["figures"]) == {goal.name for goal in genes.GOALS}
    assert set(result["by_flops"]) == {kind.name for kind in genes.KINDS}
    assert all(row["latency_share"] > 0 for row in result["rows"])
    assert list(tmp_path.glob("genes-*-quick.png"))
    assert not list(tmp_path.glob(".*")), "the work file goes when the work is done"
