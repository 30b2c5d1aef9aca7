from __future__ import annotations

from typing import Any

import pytest
import torch

from gaprune.errors import OptionError
from gaprune.options import SearchOptions
from gaprune.session.placement import ADDRESS, place


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)


def options(**given: Any) -> SearchOptions:
    return SearchOptions.of(**{"device": "cpu", **given}, given=frozenset(given))


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


@pytest.mark.parametrize(
    ("given", "variable", "gpus", "ray"),
    [
        ({}, None, 0, False),
        ({"ray_address": "head:6379"}, None, 0, True),
        ({}, "head:6379", 0, True),
        ({"device": "auto"}, None, 1, False),
        ({"device": "auto"}, None, 2, True),
        ({"device": "cpu"}, None, 2, False),
        ({"backend": "local"}, "head:6379", 2, False),
        ({"backend": "ray"}, None, 0, True),
    ],
)
def test_auto_takes_ray_with_a_clusters_address_or_several_gpus(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], variable: str | None, gpus: int, ray: bool
) -> None:
    pretend_gpus(monkeypatch, gpus)
    if variable is not None:
        monkeypatch.setenv(ADDRESS, variable)
    found = place(options(**given))
    assert found.ray == ray
    if ray and (variable or "ray_address" in given):
        assert found.address == "head:6379"


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({"backend": "ray"}, 1),
        ({"backend": "ray", "threads": 3}, 3),
        ({"backend": "ray", "threads_per_worker": 2}, 2),
        ({"backend": "ray", "threads": 2, "threads_per_worker": 2}, 2),
        ({"backend": "local", "threads": 5}, 5),
    ],
)
def test_threads_of_an_evaluation_are_one_on_ray_unless_told(given: dict[str, Any], threads: int) -> None:
    assert place(options(**given)).threads == threads


def test_in_this_process_threads_are_torchs() -> None:
    assert place(options()).threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("given", "gpus"), [({}, 1.0), ({"gpus_per_worker": 0.25}, 0.25), ({"gpus_per_worker": 2.0}, 2.0)]
)
def test_a_worker_takes_one_gpu_unless_told(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], gpus: float
) -> None:
    pretend_gpus(monkeypatch, 8)
    assert place(options(device="cuda", backend="ray", **given)).gpus == gpus


@pytest.mark.parametrize("gpus", [0.0, -1.0, 1.5])
def test_impossible_shares_of_gpus_are_refused(monkeypatch: pytest.MonkeyPatch, gpus: float) -> None:
    pretend_gpus(monkeypatch, 8)
    with pytest.raises(OptionError, match="gpus-per-worker must be a share of one GPU or a whole number"):
        place(options(device="cuda", backend="ray", gpus_per_worker=gpus))


@pytest.mark.parametrize("name", ["workers", "gpus_per_worker", "threads_per_worker", "max_retries"])
def test_what_only_ray_understands_is_refused_without_it(name: str) -> None:
    with pytest.raises(OptionError, match=rf"^{name.replace('_', '-')} is for Ray workers: add --backend ray$"):
        place(options(**{name: 2}))


def test_what_a_run_recorded_says_nothing_against_going_on_here() -> None:
    """A run made with workers, resumed without them: nobody typed the number."""
    assert not place(SearchOptions.of(device="cpu", backend="local", workers=8, threads=1, threads_per_worker=1)).ray
