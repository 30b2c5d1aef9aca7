from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.subjects import Subject, WorkFile, fixed_sample, widest_within


def test_a_killed_run_goes_on_with_its_whole_rows(tmp_path: Path) -> None:
    path, made = tmp_path / "work.jsonl", []
    first = WorkFile(path, {"weights": "a"})
    first.row("one", lambda: made.append("one") or {"accuracy": 0.5})
    path.write_text(path.read_text() + '{"key": "two", "row": {"accu')  # the kill cut this line
    again = WorkFile(path, {"weights": "a"})
    assert again.row("one", lambda: made.append("again")) == {"accuracy": 0.5}
    assert again.row("two", lambda: {"accuracy": 0.25}) == {"accuracy": 0.25}
    assert made == ["one"]
    assert [json.loads(line) for line in path.read_text().splitlines()][1:] == [
        {"key": "one", "row": {"accuracy": 0.5}},
        {"key": "two", "row": {"accuracy": 0.25}},
    ]


def test_rows_of_another_network_are_forgotten_and_a_finished_run_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "work.jsonl"
    WorkFile(path, {"weights": "a"}).row("one", lambda: 1)
    other = WorkFile(path, {"weights": "b"})
    assert other.row("one", lambda: 2) == 2
    other.remove()
    assert not path.exists()


@pytest.mark.parametrize("budget", [0.7, 0.25, 0.05])
def test_masks_stay_within_their_budget_and_use_it(subject: Subject, budget: float) -> None:
    worth = np.arange(subject.graph.neurons, dtype=np.float64)
    groups = len(subject.graph.groups)
    masks = widest_within(subject, budget, worth, lambda level: np.full(groups, level))
    share = subject.flops(masks) / subject.flops()
    assert 0.7 * budget <= share <= budget
    for group in subject.graph.groups:  # the worthiest of each group, which are its last
        kept = masks.neurons[group.slice]
        assert kept[-int(kept.sum()) :].all()


def test_a_fixed_sample_is_the_same_every_time_and_never_repeats_an_image(subject: Subject) -> None:
    test = subject.splits.test
    a, b = fixed_sample(test, 50), fixed_sample(test, 50)
    assert (a.images == b.images).all()
    assert len(fixed_sample(test, 10**6)) == len(test)
    assert fixed_sample(test, 10**6).labels.bincount().tolist() == test.labels.bincount().tolist()
