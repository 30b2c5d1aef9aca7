from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gaprune.front.finetuned import carry_over, trainings
from gaprune.runs import FrontRow
from gaprune.runs.files import write_json
from gaprune.runs.front import FINETUNED
from gaprune.saved import METRICS


@pytest.mark.parametrize("place", [FINETUNED, f"{FINETUNED}.old"])
def test_a_trained_network_goes_over_even_from_a_folder_that_was_being_replaced(tmp_path: Path, place: str) -> None:
    """A process that is killed between two renames leaves the folder aside."""
    old, new, training = tmp_path / "front.old", tmp_path / "front", {"epochs": 2, "kept": True}
    write_metrics(old / "03", {"key": "k", FINETUNED: [training]})
    (old / "03" / place).mkdir()
    (old / "03" / place / "weights").touch()
    write_metrics(new / "05", {"key": "k"})
    row = FrontRow(5, "k", {}, 0.7, 0.65, 100, 0.1, 10, 0.1, 0.1, path="front/05")
    carry_over(old, new, [row])
    assert (new / "05" / FINETUNED / "weights").exists()
    assert trainings(new / "05") == [training]


@pytest.mark.parametrize("kind", ["round", "iteration"])
def test_equal_genomes_of_two_parts_keep_their_own_trainings(tmp_path: Path, kind: str) -> None:
    old, new = tmp_path / "front.old", tmp_path / "front"
    write_metrics(old / "k-first", {"key": "k", kind: 1, FINETUNED: [{"epochs": 2, "kept": True}]})
    write_metrics(new / "k-first", {"key": "k", kind: 1})
    write_metrics(new / "k-second", {"key": "k", kind: 2})
    row = FrontRow(0, "k", {}, 0.7, 0.65, 100, 0.1, 10, 0.1, 0.1)
    carry_over(old, new, [replace(row, path="front/k-first"), replace(row, path="front/k-second")])
    assert [len(trainings(new / name)) for name in ("k-first", "k-second")] == [1, 0]


def write_metrics(home: Path, metrics: dict[str, object]) -> None:
    home.mkdir(parents=True)
    write_json(home / METRICS, metrics)
