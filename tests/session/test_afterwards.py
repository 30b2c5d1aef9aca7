"""Networks that end the process when the search is over: each is counted, whichever of them was the last."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from listener import Listener

from gaprune.session import Afterwards

JOB: Any = SimpleNamespace(
    device=torch.device("cpu"),
    own=SimpleNamespace(end=None),
    options=SimpleNamespace(cluster=SimpleNamespace(candidate_timeout=0.0)),
)


class Building:
    """Attempts of one process at the networks of a run; ``dies`` is what the file says while the last is built."""

    def __init__(self, folder: Path) -> None:
        self.listener = Listener()
        self._file, self._attempts = folder / "building.json", Afterwards(JOB, folder, [], self.listener)

    def __call__(self, key: str) -> dict[str, Any] | None:
        """What the file says meanwhile; ``None`` where the network is given up."""
        return self._attempts(
            key, lambda: dict(json.loads(self._file.read_bytes())), noun="member", without="is left out"
        )


def dies(folder: Path, told: dict[str, Any]) -> None:
    """A process ended with this in the file."""
    (folder / "building.json").write_text(json.dumps(told))


def test_two_networks_that_end_processes_are_both_given_up(tmp_path: Path) -> None:
    dies(tmp_path, {"key": "a", "tries": 3})
    for tries in (1, 2, 3):
        building = Building(tmp_path)
        assert building("a") is None
        assert building("good") == {
            "key": "good",
            "tries": 1,
            "earlier": {"a": 3} | ({"b": tries - 1} if tries > 1 else {}),
        }
        told = building("b")
        assert told == {"key": "b", "tries": tries, "earlier": {"a": 3}}
        dies(tmp_path, told)
    building = Building(tmp_path)
    assert building("a") is None
    assert building("b") is None
    assert building("good") is not None
    assert [line.split(":")[0] for line in building.listener.lines] == ["member a is left out", "member b is left out"]


def test_one_that_is_built_after_all_is_forgotten(tmp_path: Path) -> None:
    dies(tmp_path, {"key": "a", "tries": 2})
    building = Building(tmp_path)
    assert building("a") == {"key": "a", "tries": 3}
    assert building("b") == {"key": "b", "tries": 1}
