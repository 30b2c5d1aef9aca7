"""One tiny search whose candidates misbehave, and what it finds when they do not."""

from __future__ import annotations

from pathlib import Path

import killing
import pytest
from killing import evaluations
from subject import Subject, arguments_of

GENERATIONS = 2


@pytest.fixture(scope="session")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    place = tmp_path_factory.mktemp("faults")
    arguments = [*arguments_of(place, 0), "--generations", str(GENERATIONS), "--objectives", "accuracy,faulty:FLOPS"]
    path = place / "whole"
    assert killing.search([*arguments, "--output", str(path)], place / "output") == 0, (place / "output").read_text()
    return arguments, path


@pytest.fixture
def subject(_undisturbed: tuple[list[str], Path], tmp_path: Path) -> Subject:
    arguments, whole = _undisturbed
    lines = evaluations(whole)
    costs = [line["values"]["flops"] for line in lines]
    alone = [line for line in lines if line["generation"] == 0 and costs.count(line["values"]["flops"]) == 1]
    return Subject(arguments, whole, alone[1], tmp_path)
