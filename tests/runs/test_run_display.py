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
from gaprune.runs.display import over_budgets

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
        path=f"front/{index}fa9c2e1",
    )


ROWS = [row(0, 0.1, 0.7, 0.69), row(1, 0.3, 0.9, 0.893), row(2, 0.6, 0.93, None)]


def test_the_table_shows_accuracies_costs_and_shares_and_marks_the_pick() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(front_table(ROWS, baseline=BASELINE, picked=ROWS[1]))
    lines = [line.split() for line in stream.getvalue().splitlines() if "fa9c2e1" in line or "original" in line]
    assert " ".join(lines[0]) == "original 94.00 93.50 313.5 M 100.0 14.72 M 100.0 58.90"
    assert " ".join(lines[2]) == "01 * 90.00 89.30 4.20 94.04 M 30.0 950 25.0 0.00 1fa9c2e1"
    assert " ".join(lines[3]) == "02 93.00 188.1 M 60.0 950 25.0 0.00 2fa9c2e1"
    assert FLOPS_NOTE in " ".join(stream.getvalue().split())


def test_the_markdown_table_has_a_line_for_each_network() -> None:
    lines = plain_table(ROWS, baseline=BASELINE, picked=ROWS[1]).splitlines()
    assert lines[0].startswith("|  | accuracy search % | accuracy test % | points lost | FLOPs | FLOPs left % |")
    assert lines[1].startswith("| --- | ---: |")
    assert lines[4] == "| 01 * | 90.00 | 89.30 | 4.20 | 94.04 M | 30.0 | 950 | 25.0 | 0.00 | 1fa9c2e1 |"
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


LONG = [row(n, (n + 1) / 100, 0.5 + n / 250, 0.5) for n in range(80)]


def test_a_long_front_is_shown_at_budgets_with_its_ends_and_the_pick() -> None:
    shown = over_budgets(LONG, LONG[34])
    assert len(shown) <= 15
    assert {round(100 * one.flops_share) for one in shown} == {1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80}
    lines = plain_table(LONG, baseline=BASELINE, picked=LONG[34]).splitlines()
    assert sum("fa9c2e1" in line for line in lines) == len(shown)
    assert lines[-1].startswith("14 of 80 networks, the best on the search set within budgets of FLOPs: ")
    assert sum("fa9c2e1" in line for line in plain_table(LONG, every=True).splitlines()) == 80
    assert front_table(LONG).row_count == 13
    assert front_table(LONG, every=True).row_count == 80


@pytest.mark.parametrize("largest", [0.4, 0.07, 0.0003])
def test_a_long_front_of_small_networks_is_shown_at_smaller_budgets(largest: float) -> None:
    shown = over_budgets([row(n, largest * (n + 1) / 80, 0.5 + n / 250, 0.5) for n in range(80)])
    assert 8 <= len(shown) <= 15
    assert shown[-1].flops_share == largest


def test_the_best_within_a_budget_is_shown_though_it_costs_less() -> None:
    better = replace(LONG[40], search_accuracy=0.95)
    shown = over_budgets([*LONG[:40], better, *LONG[41:]])
    assert shown[-1] == better


def test_a_share_is_never_nothing() -> None:
    tiny = plain_table([row(0, 0.00042, 0.2, 0.2), row(1, 0.00000042, 0.1, 0.1)], baseline=BASELINE).splitlines()
    assert [line.split("|")[6].strip() for line in tiny[3:5]] == ["0.042", "4.2e-05"]


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
