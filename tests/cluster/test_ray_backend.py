"""Whole evaluations on Ray give what they give in this process, to the last bit."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gaprune
from gaprune.cluster.backend import Loading, RayBackend, versions
from gaprune.cluster.parcel import pack
from gaprune.cluster.session import Connection, Needs
from gaprune.data import ImageData
from gaprune.device import Numerics
from gaprune.errors import BackendError
from gaprune.evaluate import Floor, Outcome
from gaprune.genome import Genome
from gaprune.progress import SILENT

SMALL: dict[str, Any] = {
    "search_size": 60,
    "calibration_size": 45,
    "batch_size": 10,
    "population": 6,
    "generations": 2,
    "genes": "both",
    "device": "cpu",
    "threads": 1,
    "reporter": SILENT,
}


def evaluations(path: Path) -> list[str]:
    """All but the seconds and the order."""
    lines = (json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines())
    return sorted(json.dumps({**line, "seconds": 0, "sum": ""}) for line in lines)


@pytest.mark.usefixtures("session")
def test_the_front_is_the_same_to_the_last_bit_here_and_on_any_number_of_workers(
    trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    def searched(name: str, **options: Any) -> tuple[str, list[str], list[bytes]]:
        result = gaprune.search(trained, square_data, output=tmp_path / name, **{**SMALL, **options})  # type: ignore[operator]
        tensors = [(result.path / row.path / "model.safetensors").read_bytes() for row in result.rows]
        return (result.path / "front.csv").read_text(), evaluations(result.path), tensors

    here = searched("local", backend="local")
    assert len(here[1]) > 6
    for workers in (1, 2, 3):
        assert searched(f"ray-{workers}", backend="ray", workers=workers) == here
    raced = searched("raced", backend="local", racing=0.9)
    assert any('"marks"' in line for line in raced[1])
    assert searched("ray-raced", backend="ray", workers=2, racing=0.9) == raced


@pytest.mark.usefixtures("session")
def test_workers_map_what_they_only_read_and_take_on_the_drivers_settings() -> None:
    shared, private = torch.ones(1 << 18), torch.ones(1 << 18)

    def evaluate(genome: Genome, floor: Floor) -> Outcome:
        if genome.packed == b"full":
            return Outcome(genome.key, {}, {}, 0.0, "OutOfMemoryError: CUDA out of memory")
        values = {"deterministic": float(torch.are_deterministic_algorithms_enabled())}
        for name, tensor in (("shared", shared), ("private", private)):
            for line in Path("/proc/self/maps").read_text().splitlines():
                start, _, end = line.split()[0].partition("-")
                if int(start, 16) <= tensor.data_ptr() < int(end, 16):
                    values[name] = float("/dev/shm" in line or "plasma" in line)
        return Outcome(genome.key, values, {}, 0.0)

    torch.use_deterministic_algorithms(True)
    try:
        backend = RayBackend(evaluate, threads=1, workers=1, private=[private])
    finally:
        torch.use_deterministic_algorithms(False)
    try:
        found = dict(backend.evaluate([Genome(b"any"), Genome(b"full")]))
        figures = backend.figures()
    finally:
        backend.close()
    assert found[0].values == {"deterministic": 1.0, "shared": 1.0, "private": 0.0}
    assert found[1].failure == "OutOfMemoryError: CUDA out of memory"
    assert (figures["workers"], figures["tried again"]) == ("1", "2")


def test_what_cannot_be_sent_to_workers_is_told_in_one_line() -> None:
    lock = threading.Lock()
    with pytest.raises(
        BackendError, match=r"^cannot be sent to workers: TypeError: cannot pickle '_thread.lock' object$"
    ):
        RayBackend(lambda genome, floor: Outcome(str(lock), {}, {}, 0.0), threads=1)


def test_workers_of_another_version_are_refused() -> None:
    other = {**versions(), "torch": "1.0"}
    loading = Loading(pack(lambda genome, floor: None), 1, Numerics.now(), other)
    with pytest.raises(BackendError, match=r"^node \S+ differs from the search's: torch \S+ here, 1.0 there$"):
        loading()


@pytest.mark.parametrize(
    ("needs", "node", "workers"),
    [
        (Needs(1), {"CPU": 4.0}, 4),
        (Needs(3), {"CPU": 8.0, "GPU": 1.0}, 2),
        (Needs(1, 0.25), {"CPU": 8.0, "GPU": 1.0}, 4),
        (Needs(1, 0.25), {"CPU": 2.0, "GPU": 1.0}, 2),
        (Needs(1, 0.3), {"CPU": 16.0, "GPU": 2.0}, 6),
        (Needs(1, 2.0), {"CPU": 16.0, "GPU": 3.0}, 1),
        (Needs(1, 1.0), {"CPU": 16.0}, 0),
        (Needs(1), {}, 0),
    ],
)
def test_how_many_workers_a_node_holds(needs: Needs, node: dict[str, float], workers: int) -> None:
    """With 0.3 of a GPU each three fit on one, for no worker spans two."""
    assert needs.fit(node) == workers


def test_a_session_that_was_there_before_stays(session: Connection) -> None:
    import ray

    Connection(session.address, owned=False).close()
    assert ray.is_initialized()
