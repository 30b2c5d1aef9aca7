from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import photographs as benchmark

RESULT = Path(benchmark.__file__).parent / "results" / "photographs-imagenette160-cpu.json"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((30, 40, 3), number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "few" / name / f"{number}.png")
    return tmp_path / "few"


def test_photographs_are_copied_until_there_are_enough(few: Path, tmp_path: Path) -> None:
    benchmark.copied(few, tmp_path / "many", 50)
    counts = {part: len(list((tmp_path / "many" / part).rglob("*.png"))) for part in ("train", "test")}
    assert sum(counts.values()) == 50
    assert counts["train"] == pytest.approx(0.75 * 50, abs=1)


def test_every_photograph_that_a_search_judges_by_is_looked_at(few: Path, tmp_path: Path) -> None:
    benchmark.copied(few, tmp_path / "many", 60)
    found = benchmark.read(tmp_path / "many", 32)
    assert found["photographs"] == 60
    assert found["looked_at"] == 60  # no image is in two parts, but calibration lies inside train
    assert found["cropped"] == 60 - found["looked_at"] + 37


def test_the_committed_result_holds_its_goals_and_tells_every_stage() -> None:
    result = json.loads(RESULT.read_text())
    assert result["photographs"] == 13_000
    for goal in benchmark.GOALS:
        assert goal.line(result["figures"][goal.name])[0]
    assert len({row["stage"] for row in result["rows"]}) == 5
