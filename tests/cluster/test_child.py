"""A process beside this one, really ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

from gaprune.cluster.backend import IsolatedBackend
from gaprune.cluster.child import ChildCrew
from gaprune.cluster.dispatch import Dispatcher, GivenUp
from gaprune.errors import BackendError
from gaprune.testing.backend_suite import BackendSuite, Evaluate


class TestIsolated(BackendSuite):
    def make(self, evaluate: Evaluate, *, threads: int) -> IsolatedBackend:
        return IsolatedBackend(evaluate, threads=threads, tries=2)


def make() -> Callable[[Any], Any]:
    import os
    import sys
    import time

    def work(job: str) -> Any:
        if job == "exit":
            os._exit(3)
        if job == "hang":
            time.sleep(1000)
        if job == "signals":
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        return {"pid": os.getpid(), "path": sys.path}[job] if job in ("pid", "path") else job

    return work


@pytest.fixture
def crew() -> Iterator[ChildCrew]:
    made = ChildCrew(make)
    yield made
    made.close()


def test_what_ends_it_or_takes_too_long_costs_itself_only(crew: ChildCrew) -> None:
    made = Dispatcher(crew, 0, limit=lambda: (1.0, "too long"))
    found = dict(made.run(["a", "exit", "pid", "hang", "b", "signals"], [0.0] * 6))
    assert found.pop(2) != os.getpid()
    assert found == {
        0: "a",
        1: GivenUp("its process ended with exit status 3"),
        3: GivenUp("too long"),
        4: "b",
        5: "signals",
    }
    assert made.use.lost == 2


def test_it_finds_the_modules_of_this_process(crew: ChildCrew) -> None:
    ((_, path),) = Dispatcher(crew, 0).run(["path"], [0.0])
    assert {os.path.abspath(folder) for folder in sys.path} <= set(path)


def test_it_ends_with_this_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "from gaprune.cluster.child import ChildCrew\n"
        "from gaprune.cluster.dispatch import Dispatcher\n"
        "crew = ChildCrew(lambda: lambda job: __import__('os').getpid() if job else time.sleep(1000))\n"
        "made = Dispatcher(crew, 0)\n"
        "print(*(pid for _, pid in made.run([1], [0.0])), flush=True)\n"
        "list(made.run([0], [0.0]))\n"  # a script without ``if __name__``: it must not run in the child
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < end, "it has outlived the process that started it"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (lambda: 1 // 0, "ZeroDivisionError: integer division or modulo by zero"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "its process was ended by SIGKILL"),
    ],
)
def test_one_that_cannot_start_is_told_in_one_line(fails: Callable[[], Any], told: str) -> None:
    crew = ChildCrew(fails)
    with pytest.raises(BackendError, match=f"^the process for candidates cannot start: {told}"):
        Dispatcher(crew, 0).muster(1)
    crew.close()
