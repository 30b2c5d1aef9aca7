"""Times come with an interval, and are taken until it is narrow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gaprune.errors import MethodError
from gaprune.runtimes import Timing, check_runtime, prepared, time_calls
from gaprune.runtimes import stopwatch as module
from gaprune.runtimes.latency import LOCK, alone

SECONDS = st.lists(st.floats(1e-6, 10), min_size=1, max_size=60)


@given(SECONDS)
def test_the_interval_holds_the_median_and_lies_among_the_repeats(taken: list[float]) -> None:
    found = Timing.of(taken)
    assert min(taken) <= found.low <= found.seconds <= found.high <= max(taken)
    assert found.repeats == len(taken)


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    found = [Timing.of(random.lognormal(0, 0.5, 25).tolist()) for _ in range(2000)]
    assert 0.93 < float(np.mean([one.low <= 1.0 <= one.high for one in found])) < 0.99


def test_calls_are_timed_in_turn_until_the_interval_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(10**6))
    taken = {"a": iter([1.0] * 3 + [1.0, 9.0] * 8 + [1.0] * 400), "b": iter([2.0] * 500)}

    def seconds(call: object, count: int, device: object) -> float:
        name = call()  # type: ignore[operator]
        order.append(name)
        return next(taken[name])

    monkeypatch.setattr(module, "_seconds", seconds)
    monkeypatch.setattr(module, "_warm", lambda call, device: 1)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock) * 1e-6)
    first, second = time_calls([lambda: "a", lambda: "b"])
    assert order == ["a", "b"] * (len(order) // 2), "one after the other, again and again"
    assert first.within <= module.WITHIN
    assert second.within == 0
    assert first.repeats > module.LEAST, "the wide one needed more"
    assert (first.seconds, second.seconds) == (1.0, 2.0)


def test_patience_ends() -> None:
    slow = iter([0.0, 0.004] * 1000)
    began = time.perf_counter()
    (found,) = time_calls([lambda: time.sleep(next(slow))], within=0.0, patience=0.1)
    assert found.repeats >= module.LEAST
    assert time.perf_counter() - began < 20


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-int8"])
def test_each_runtime_runs_the_whole_batch(network: nn.Module, runtime: str) -> None:
    pytest.importorskip("onnxruntime")
    images = torch.randn(3, 3, 8, 8)
    wanted = prepared(network, images, "torch", 1)()
    (found,) = prepared(network, images, runtime, 1)()  # type: ignore[misc]
    assert isinstance(wanted, torch.Tensor)
    np.testing.assert_allclose(found, wanted.numpy(), atol=0.05 if "int8" in runtime else 1e-4)


def test_what_cannot_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MethodError, match="latency in ONNX Runtime is measured on the CPU, not on cuda"):
        check_runtime("onnxruntime", torch.device("cuda"))
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MethodError, match="onnxruntime is needed and cannot be imported"):
        check_runtime("onnxruntime", torch.device("cpu"))

    def refuse(*given: object, **told: object) -> object:
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(MethodError, match=r"^torch.compile cannot run the network: no compiler$"):
        check_runtime("compile", torch.device("cpu"))


def test_another_users_lock_keeps_nobody_from_measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of two users of a machine the first one's file may be closed to the second."""
    acquire, refused = FileLock.acquire, list[str]()

    def closed(self: FileLock, *args: Any, **options: Any) -> Any:
        if Path(self.lock_file).name == LOCK:
            refused.append(self.lock_file)
            raise PermissionError(13, "Permission denied", self.lock_file)
        return acquire(self, *args, **options)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with alone(), pytest.raises(Timeout):
        FileLock(tmp_path / LOCK).acquire(timeout=0)
    monkeypatch.setattr(FileLock, "acquire", closed)
    with alone():
        (own,) = (file for file in tmp_path.iterdir() if file.name != LOCK)
        assert own.name.endswith(LOCK)
    assert refused == [str(tmp_path / LOCK)]
