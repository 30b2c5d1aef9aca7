from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image
from rich.console import Console

from gaprune.runs import FLOPS_NOTE, Baseline, FrontRow, front_table, plain_table, plot_front

BASELINE = Baseline(search_accuracy=0.94, test_accuracy=0.935, flops=313_478_154, params=14_724_042, size_mb=58.9)


def row(index: int, share: float, accuracy: float, test: float | None) -> FrontRow:
    return FrontRow(
        index=index,
        key="00",
        objectives={},
        search_accuracy=accuracy,
        test_accuracy=test,
        flops=round(share * BASELINE.flops),
        flops_share=share,
        params=950,
        params_share=0.25,
        size_mb=0.004,
        path=f"front/{index:02d}",
    )


ROWS = [row(0, 0.1, 0.7, 0.69), row(1, 0.3, 0.9, 0.893), row(2, 0.6, 0.93, None)]


def test_the_table_shows_accuracies_costs_and_shares_and_marks_the_pick() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(front_table(ROWS, baseline=BASELINE, picked=ROWS[1]))
    lines = [line.split() for line in stream.getvalue().splitlines() if "front/" in line or "original" in line]
    assert " ".join(lines[0]) == "original 94.00 93.50 313.5 M 100.0 14.72 M 100.0 58.90"
    assert " ".join(lines[2]) == "01 * 90.00 89.30 94.04 M 30.0 950 25.0 0.00 front/01"
    assert " ".join(lines[3]) == "02 93.00 188.1 M 60.0 950 25.0 0.00 front/02"
    assert FLOPS_NOTE in " ".join(stream.getvalue().split())


def test_the_markdown_table_has_a_line_for_each_network() -> None:
    lines = plain_table(ROWS, baseline=BASELINE, picked=ROWS[1]).splitlines()
    assert lines[0].startswith("|  | accuracy search % | accuracy test % | FLOPs | FLOPs left % |")
    assert lines[1].startswith("| --- | ---: |")
    assert lines[4] == "| 01 * | 90.00 | 89.30 | 94.04 M | 30.0 | 950 | 25.0 | 0.00 | front/01 |"
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert lines[-1] == FLOPS_NOTE


def test_accuracies_before_fine_tuning_stand_beside_those_after() -> None:
    tuned = replace(ROWS[1], trained_epochs=5, search_accuracy_before=0.8, test_accuracy_before=0.79)
    lines = plain_table([ROWS[0], tuned], baseline=BASELINE).splitlines()
    assert lines[0].startswith("|  | before search % | before test % | accuracy search % | accuracy test % |")
    assert lines[3].startswith("| 00 |  |  | 70.00 | 69.00 |")
    assert lines[4].startswith("| 01 | 80.00 | 79.00 | 90.00 | 89.30 |")
    assert len({line.count("|") for line in lines[:5]}) == 1
    assert len(front_table([tuned]).columns) == len(front_table(ROWS).columns) + 2


def test_without_baseline_or_pick_there_is_one_line_a_row() -> None:
    assert front_table(ROWS).row_count == 3
    assert "*" not in plain_table(ROWS)


@pytest.mark.parametrize(
    ("rows", "picked", "evaluated"),
    [(ROWS, ROWS[1], [(0.2, 0.1), (0.5, 0.85)]), (ROWS[2:], None, []), ([], None, [])],
)
def test_the_picture_is_a_png_with_something_on_it(
    tmp_path: Path, rows: list[FrontRow], picked: FrontRow | None, evaluated: list[tuple[float, float]]
) -> None:
    path = tmp_path / "front.png"
    plot_front(rows, path, baseline=BASELINE, picked=picked, evaluated=evaluated, title="vgg16 on cifar10")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 1.0
    assert [entry.name for entry in tmp_path.iterdir()] == ["front.png"]


def test_the_pick_is_marked_on_the_picture(tmp_path: Path) -> None:
    for name, picked in (("a.png", None), ("b.png", ROWS[1]), ("c.png", ROWS[1])):
        plot_front(ROWS, tmp_path / name, baseline=BASELINE, picked=picked)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_drawing_leaves_the_callers_matplotlib_alone(tmp_path: Path) -> None:
    check = (
        "import sys; from pathlib import Path; from gaprune.runs import Baseline, plot_front;"
        "plot_front([], Path(sys.argv[1]), baseline=Baseline(0.9, None, 1, 1, 1.0));"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check, str(tmp_path / "a.png")], timeout=PATIENCE)
    assert done.returncode == 0
