from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaprune.errors import RunError
from gaprune.evaluate import Outcome
from gaprune.saved import read_metrics
from gaprune.session.logged import logged_outcomes

OUTCOME = Outcome(key="k", values={"accuracy": 0.5}, minimised={"accuracy": 0.5}, seconds=1.5)
WHOLE: dict[str, Any] = {"generation": 2, **OUTCOME.record()}


def test_outcomes_come_back_with_their_generation_and_a_log_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(WHOLE) + "\n")
    assert logged_outcomes(tmp_path / "log.jsonl") == [(2, OUTCOME)]
    assert logged_outcomes(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("lost", WHOLE)
def test_a_line_that_is_no_evaluation_is_named(tmp_path: Path, lost: str) -> None:
    short = {name: value for name, value in WHOLE.items() if name != lost}
    (tmp_path / "log.jsonl").write_text(json.dumps(short) + "\n")
    with pytest.raises(RunError, match=rf"log\.jsonl has a line that is no evaluation: KeyError\('{lost}'\)"):
        logged_outcomes(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "cannot be read: "), ("{", "cannot be read: "), ("[]", "cannot be read: "), ('{"a": 1}', "has no made")],
)
def test_damaged_metrics_are_named(tmp_path: Path, content: str | None, line: str) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=rf"metrics\.json .*{line}"):
        read_metrics(tmp_path, "made")
