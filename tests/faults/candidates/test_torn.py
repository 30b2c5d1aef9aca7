"""A log that lost its end after the state that rests on it was saved: the last good state does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from killing import GENERATIONS, left_by
from subject import Subject


@pytest.fixture
def longer(subject: Subject) -> Path:
    """The search with more generations, so that there are states to go back to."""
    run = subject.place / "longer"
    status, said = subject.search("--generations", str(GENERATIONS), "--output", str(run))
    assert status == 0, said
    return run


@pytest.mark.parametrize("lines", [1, 2, 6])
def test_the_search_goes_back_to_the_last_state_whose_evaluations_are_there(
    subject: Subject, longer: Path, lines: int
) -> None:
    run = shutil.copytree(longer, subject.place / "run")
    log = run / "evaluations.jsonl"
    whole = log.read_bytes().splitlines(keepends=True)
    torn = whole[len(whole) - lines]
    log.write_bytes(b"".join(whole[: len(whole) - lines]) + torn[: len(torn) // 2])
    status, said = subject.resume(run)
    assert status == 0, said
    assert "Traceback" not in said
    assert [line.count(b'"key"') for line in log.read_bytes().splitlines()] == [1] * len(whole)
    assert left_by(run) == left_by(longer)
