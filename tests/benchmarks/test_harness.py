from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from forked import run_script

from benchmarks.harness import are_shares, at_least
from gaprune.errors import OptionError

ROOT = Path(__file__).parents[2]

SCRIPT = """
from benchmarks.harness import Goal, run

GOALS = (Goal("speed", ">=", 2.0, "times"), Goal("loss", "<=", 1.0, "points"))


def measure(options):
    return {"data": "none", "device": "cpu", "figures": {"speed": 3.0, "loss": 1.5}, "rows": []}


raise SystemExit(run(__file__, GOALS, measure))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "claims.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    return path


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_script(path, *arguments)


def test_a_result_says_how_it_was_made_and_the_check_counts_the_goals_held(script: Path, tmp_path: Path) -> None:
    made = run(script)
    assert made.returncode == 0, made.stderr
    result = json.loads((tmp_path / "results" / "claims-none-cpu.json").read_text())
    assert {"command", "date", "environment", "figures", "rows"} <= set(result)
    checked = run(script, "--check")
    assert checked.returncode == 1
    lines = checked.stdout.splitlines()
    assert "held: speed >= 2 times: 3 (+1)" in lines[0]
    assert "missed: loss <= 1 points: 1.5 (+0.5)" in lines[1]
    assert lines[-1] == "1 of 2 goals held"


def test_a_quick_run_is_never_taken_for_a_result(script: Path) -> None:
    assert run(script, "--quick").returncode == 0
    checked = run(script, "--check")
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        "no result: missed: speed >= 2 times: not measured",
        "no result: missed: loss <= 1 points: not measured",
        "0 of 2 goals held",
    ]


def test_ctrl_c_is_one_line_and_leaves_no_result(script: Path, tmp_path: Path) -> None:
    script.write_text(
        script.read_text().replace('    return {"data"', '    raise KeyboardInterrupt\n    return {"data"')
    )
    stopped = run(script)
    assert stopped.returncode == 130
    (line,) = stopped.stderr.splitlines()
    assert line.endswith("claims.py: stopped; what is finished is kept, go on with the same command")
    assert not (tmp_path / "results").exists()


def test_work_is_forgotten_when_its_result_is_written(script: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.touch()
    text = script.read_text().replace('"rows": []}', f'"rows": [], "done": Path({str(work)!r}).unlink}}')
    script.write_text(f"from pathlib import Path\n{text}")
    (tmp_path / "results").touch()
    assert run(script).returncode != 0
    assert work.exists(), "the result could not be written"
    (tmp_path / "results").unlink()
    assert run(script).returncode == 0
    assert not work.exists()
    assert "done" not in json.loads((tmp_path / "results" / "claims-none-cpu.json").read_text())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"scratch_epochs": [3, 0]}, "scratch-epochs must be at least 1, got 0"),
        ({"budgets": [0.5, 50]}, "budgets must be shares above 0 and at most 1, got 50"),
        ({"budgets": (0.0,)}, "budgets must be shares above 0 and at most 1, got 0"),
    ],
)
def test_numbers_that_cannot_be_are_told_in_one_line(given: dict[str, Any], line: str) -> None:
    options = argparse.Namespace(**({"epochs": 1, "scratch_epochs": None, "budgets": [1.0]} | given))

    def check() -> None:
        at_least(options, epochs=1, scratch_epochs=1)
        are_shares(options, "budgets")

    with pytest.raises(OptionError, match=f"^{line}$"):
        check()


@pytest.mark.slow
def test_the_benchmark_of_connection_groups_runs(tmp_path: Path) -> None:
    made = run(ROOT / "benchmarks" / "connection_groups.py", "--quick", "--output", str(tmp_path))
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("connection_groups-*-quick.json")
    rows = json.loads(file.read_text())["rows"]
    assert {(row["network"], row["groups"]) for row in rows} == {
        (n, g) for n in ("vgg16", "resnet18") for g in (1, 2, 4, 8)
    }


def test_a_goal_is_checked_in_the_results_that_speak_of_it_and_missed_where_none_does(
    script: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    for name, figures in (("small", {"speed": 3.0}), ("large", {"speed": 1.0})):
        (folder / f"claims-{name}-cpu.json").write_text(json.dumps({"figures": figures}))
    lines = run(script, "--check").stdout.splitlines()
    assert lines[:3] == [
        "claims-large-cpu.json: missed: speed >= 2 times: 1 (-1)",
        "claims-small-cpu.json: held: speed >= 2 times: 3 (+1)",
        "no result: missed: loss <= 1 points: not measured",
    ]
    assert lines[-1] == "1 of 3 goals held"


@pytest.mark.parametrize("form", ["--output {}", "--output={}"])
def test_a_result_names_no_path_of_its_machine(script: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / "elsewhere"
    assert run(script, *form.format(output).split()).returncode == 0
    result = json.loads((output / "claims-none-cpu.json").read_text())
    assert result["command"].endswith(form.format("elsewhere"))
    assert str(tmp_path) not in json.dumps(result)
