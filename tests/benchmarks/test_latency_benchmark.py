"""What the benchmark of latencies makes of what it timed."""

from __future__ import annotations

from typing import Any

import pytest
from forked import run_script

from benchmarks import latency


def row(flops: float, share: float, told: float, *, unseen: bool = False, batch: int = 128) -> dict[str, Any]:
    named = {"runtime": "torch", "batch": batch, "unseen": unseen}
    return {**named, "flops_share": flops, "share": share, "told_share": told, "original_ms": 1.0}


def test_figures_are_of_unseen_networks_and_of_the_worst_speed_up_down_to_a_fifth_of_the_flops() -> None:
    rows = [
        row(1.0, 1.0, 1.5),
        row(0.5, 0.625, 0.625),
        row(0.1, 0.9, 0.9),
        row(0.4, 0.4, 0.44, unseen=True),
        row(0.3, 0.3, 0.36, unseen=True),
        row(0.25, 0.25, 0.25, unseen=True),
    ]
    assert latency.figures_of(rows) == {
        "error on unseen networks, torch, batch 128": 10.0,
        "least speed-up over ratio of FLOPs, torch, batch 128": 0.8,
    }


def test_goals_speak_of_figures_that_there_are() -> None:
    rows = [row(0.5, 0.5, 0.5, unseen=True, batch=batch) for batch in latency.BATCHES]
    named = {goal.name for goal in latency.GOALS if "torch" in goal.name}
    assert named <= set(latency.figures_of(rows))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batches", "0"], "batches must be at least 1, got 0"),
        (["--threads", "0"], "threads must be at least 1, got 0"),
    ],
)
def test_it_refuses_what_cannot_be_timed(options: list[str], message: str) -> None:
    made = run_script(latency.__file__, *options)
    assert made.returncode == 2
    assert message in made.stderr
