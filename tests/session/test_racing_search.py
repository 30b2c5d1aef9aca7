from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import gaprune
from gaprune.commands.search import Interrupted
from gaprune.data import ImageData
from gaprune.errors import OptionError
from gaprune.evaluate import Evaluator, Floor, Measurement
from gaprune.progress import SILENT

SMALL: dict[str, Any] = {
    "search_size": 60,
    "calibration_size": 45,
    "batch_size": 10,
    "population": 8,
    "generations": 4,
    "racing": 0.6,
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]
    return [{**line, "seconds": 0, "sum": ""} for line in found]


@pytest.mark.parametrize("objectives", [("accuracy", "flops"), ("loss", "flops", "params")])
def test_who_loses_a_race_is_dominated_and_a_race_that_was_interrupted_ends_as_it_would_have(
    trained: nn.Module,
    square_data: ImageData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objectives: tuple[str, ...],
) -> None:
    monkeypatch.setattr("gaprune.evaluate.racing.FIRST_RUNG", 10)

    def search(**options: Any) -> Path:
        found = gaprune.search(trained, square_data, **{**SMALL, "objectives": objectives, **options})  # type: ignore[operator]
        return found.path

    whole = lines(search(output=tmp_path / "whole"))
    lost = [line for line in whole if line["bound"]]
    assert lost
    for line in lost:
        assert "marks" not in line
        earlier = [x["minimised"] for x in whole if x["generation"] < line["generation"] and not x["bound"]]
        assert any(
            all(known[name] <= line["minimised"][name] for name in objectives)
            and known[objectives[0]] < line["minimised"][objectives[0]]
            for known in earlier
        )
    assert all("marks" in line for line in whole if not line["bound"])
    fitness, left = Evaluator.fitness, [len(whole) - 5]

    def interrupted(self: Evaluator, masks: Any, floor: Floor) -> Measurement:
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        return fitness(self, masks, floor)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "fitness", interrupted)
        with pytest.raises(Interrupted):
            search(output=tmp_path / "part")
    assert lines(search(resume=tmp_path / "part")) == whole


def test_the_papers_rounds_do_not_race(trained: nn.Module, square_data: ImageData) -> None:
    with pytest.raises(OptionError, match="racing"):
        gaprune.search(trained, square_data, algorithm="rounds", racing=0.9)  # type: ignore[operator]
