from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
from forked import run_script

from benchmarks import compare_methods
from benchmarks.compare_methods import FASTER, MATCHED, QUANTIZED, WINS, figures_of
from gaprune.compress.rows import Row


def row(chain: str, size: float, accuracy: float, seconds: float = 1.0) -> Row:
    metrics = {"accuracy": accuracy, "f1": accuracy}
    return Row(chain, size, metrics, 1, 1, "PyTorch", 0, {"cpu 1": 0.1, "cpu 128": seconds})


ROWS = [
    row("none", 100, 0.90),
    row("onnx", 100, 0.90, 0.8),
    row("quantize", 25, 0.88, 0.2),
    row("tucker", 9, 0.80),
    row("ours:03", 8, 0.85),
    row("ours:03+quantize", 2, 0.84),
]


def test_the_figures_are_what_the_rows_say() -> None:
    assert figures_of("net", ROWS) == {
        f"net: {MATCHED}": pytest.approx(100 / 3),  # tucker is, onnx and quantize are not
        f"net: {WINS}": pytest.approx(5.0),
        f"net: {QUANTIZED}": pytest.approx(2.0),
        f"net: {FASTER}": pytest.approx(4.0),
    }


def test_a_chain_without_a_row_is_not_taken_for_matched() -> None:
    with_all = figures_of("net", ROWS)
    with_all.pop(f"net: {MATCHED}")
    assert figures_of("net", ROWS, ["tucker:size=0.1"]) == with_all


def test_every_goal_speaks_of_a_figure_that_a_run_makes() -> None:
    made = {name for network in ("vgg16", "resnet18") for name in figures_of(network, ROWS)}
    assert {goal.name for goal in compare_methods.GOALS} == made


@pytest.mark.parametrize(
    ("model", "stem", "name"),
    [("resnet18", "imagenet", "resnet18-imagenet"), ("resnet18", "cifar", "resnet18"), ("vgg16", "imagenet", "vgg16")],
)
def test_results_are_called_after_the_runs_network(tmp_path: Path, model: str, stem: str, name: str) -> None:
    manifest = {"options": {"model": model, "stem": stem}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    given = argparse.Namespace(run=tmp_path, quick=False, model="vgg16", stem="cifar")
    assert compare_methods.network_name(given) == name
    given.run, given.model, given.stem = None, model, stem
    assert compare_methods.network_name(given) == name


@pytest.mark.slow
def test_the_benchmark_runs_and_keeps_every_row(tmp_path: Path) -> None:
    made = run_script(compare_methods.__file__, "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    result = json.loads((tmp_path / "compare_methods-small-digits-cpu-quick.json").read_text())
    chains = [row["chain"] for row in result["rows"]]
    named = tuple(re.sub(r"ours:\d\d", "ours", chain) for chain in chains)  # members are told by their index
    assert named == compare_methods.QUICK_METHODS
    assert len(list(tmp_path.glob("*-quick.png"))) == 2
    table = (tmp_path / "compare_methods-small-digits-cpu-quick.md").read_text()
    assert all(f"| {chain} |" in table for chain in chains)
    assert not [path for path in tmp_path.glob(".*") if path.is_dir()]
