from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from gaprune.session import watchdog
from gaprune.session.watchdog import TookTooLong, Watchdog


class EndedError(Exception):
    """Stands for the end of the process."""


def end(line: str, folder: Path, then: str) -> NoReturn:
    raise EndedError(f"{folder}: {line} ({then})")


def busy(seconds: float) -> None:
    """Work in Python that a stranger guards against errors."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        try:
            time.sleep(0.01)
        except Exception as error:
            raise AssertionError("it is no error of the stranger's") from error


def test_what_takes_too_long_is_interrupted_in_the_main_thread() -> None:
    dog, before = Watchdog(end, Path("run")), signal.getsignal(signal.SIGURG)
    begin = time.monotonic()
    with pytest.raises(TookTooLong, match=r"^too long$"), dog.watching("key", 0.1, "too long"):
        busy(60)
    assert time.monotonic() - begin < 30
    assert dog.overrun
    assert signal.getsignal(signal.SIGURG) is before
    dog.forget()
    with dog.watching("next", 60, "too long"):
        busy(0.2)
    assert not dog.overrun
    dog.close()


def test_without_a_limit_nothing_is_watched() -> None:
    dog = Watchdog(end, Path("run"))
    with dog.watching("key", float("inf"), "too long"):
        busy(0.05)
    assert "gaprune-watchdog" not in {thread.name for thread in threading.enumerate()}


def test_in_another_thread_the_caller_is_warned_and_nothing_ended(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.1)
    dog, done = Watchdog(None, Path("run")), threading.Event()

    def work() -> None:
        with dog.watching("candidate 0123456789ab", 0.1, "took longer than 0.1 s"):
            busy(0.6)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done.is_set()
    assert dog.overrun
    (line,) = [record.getMessage() for record in caplog.records if record.name == watchdog.__name__]
    assert line.startswith("candidate 0123456789ab took longer than 0.1 s, and cannot be interrupted")
    assert "isolate=True" in line
    dog.close()


def test_a_signal_that_somebody_uses_stays_theirs() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGURG, lambda number, frame: came.append(number))
    try:
        dog = Watchdog(None, Path("run"))
        with dog.watching("key", 0.1, "too long"):
            busy(0.4)
        dog.close()
    finally:
        signal.signal(signal.SIGURG, before)
    assert came == []
