"""Ray's private names that the project uses: where one has moved, this fails, and loudly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray._private import ray_constants, worker

import gaprune
from gaprune.cluster import private

PACKAGE = Path(gaprune.__file__).parent


def test_the_installed_ray_has_every_private_name() -> None:
    lacking = private.missing()
    assert not lacking, f"Ray has moved {', '.join(lacking)}: mend gaprune/cluster/private.py, or bound ray below it"


def test_no_other_module_uses_ray_s_private_names() -> None:
    users = [
        path for path in PACKAGE.rglob("*.py") if re.search(r"ray\._private|ray\.core\.generated", path.read_text())
    ]
    assert users == [PACKAGE / "cluster" / "private.py"]


def test_loopback_is_wanted_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_constants, private.LOOPBACK, True)
    with private.loopback_only(False):
        assert ray_constants.ENABLE_RAY_CLUSTER
    with private.loopback_only(True):
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTER


def test_workers_print_or_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, private.LOGS, True)
    private.print_workers(False)
    assert not worker._worker_logs_enabled


def test_a_ray_without_the_names_is_told_of_and_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "WORKER", "ray._private.nowhere")
    monkeypatch.setattr(private, "LOOPBACK", "NOTHING_OF_THIS_NAME")
    private.print_workers(True)
    with private.loopback_only(True):
        pass
    assert private.missing() == [
        "ray._private.ray_constants.NOTHING_OF_THIS_NAME",
        "ray._private.nowhere._worker_logs_enabled",
    ]


def test_without_a_cluster_nothing_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "STATE", "ray._private.nowhere")
    assert not private.may_grow()
