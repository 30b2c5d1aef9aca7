from __future__ import annotations

import threading
import time

import pytest
import torch

from gaprune.device import answers, choose_device, in_turn
from gaprune.errors import OptionError


def test_auto_is_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    with pytest.raises(OptionError, match="'cuda' is not available here: choose cpu or auto"):
        choose_device("cuda")


def test_auto_is_cuda_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert choose_device() == choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cpu") == torch.device("cpu")


def test_an_unknown_device_lists_the_valid_ones() -> None:
    with pytest.raises(OptionError, match="unknown device 'tpu': choose one of auto, cpu, cuda"):
        choose_device("tpu")


def test_the_settings_of_the_process_are_one_threads_at_a_time() -> None:
    """Two searches in threads go one after the other, and one within the other, as from a callback, is no deadlock."""
    inside: list[str] = []

    def work(name: str) -> None:
        with in_turn(), in_turn():
            inside.append(name)
            time.sleep(0.05)
            inside.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inside[::2]) == ["a", "b", "c"]
    assert inside[::2] == inside[1::2]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
    ],
)
def test_a_device_answers_unless_every_call_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, expected: bool
) -> None:
    def ones(*shape: int, device: torch.device) -> torch.Tensor:
        if error is not None:
            raise error
        return torch.full(shape, 1.0)

    assert answers(torch.device("cpu"))
    monkeypatch.setattr(torch, "ones", ones)
    assert answers(torch.device("cuda")) == expected


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_healthy_card_answers() -> None:
    assert answers(torch.device("cuda"))
