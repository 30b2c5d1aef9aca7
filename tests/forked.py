"""Processes that are forked from one that has imported everything, so that a start costs a fraction of a second.

They are real all the same: what is not on disk when one is killed is lost, and no test sees what one changes in itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from patience import PATIENCE

TESTS = Path(__file__).parent
PRELOADED = "forked_preload"


def start(target: Callable[..., int], *arguments: Any) -> ForkServerProcess:
    """Start a process whose exit status is what ``target`` returns; target and arguments can be pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    with pytest.MonkeyPatch.context() as patch:  # the server of Python 3.11 is not told where modules are
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        forkserver.ensure_running()
    process = context.Process(target=_run, args=(target, *arguments))
    process.start()
    return process


def status(process: ForkServerProcess) -> int:
    """The exit status when it has ended, negative where a signal has ended it."""
    process.join(PATIENCE)
    code = process.exitcode
    assert code is not None, "the process did not end"
    process.close()
    return code


def run_script(
    script: Path | str, *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """What ``python script words...`` does and says, in a forked process of one thread: torch cannot take more there.

    Args:
        script: file of the script.
        words: its command line.
        cwd: where it runs; where the tests run by default.
        env: variables beside those of the tests.
    """
    argv = [str(script), *map(str, words)]
    with TemporaryDirectory() as folder:
        said = Path(folder, "out"), Path(folder, "error")
        code = status(start(_script, argv, cwd or Path.cwd(), {**os.environ, **(env or {})}, *said))
        return CompletedProcess(argv, code, *(file.read_text() for file in said))


def unsynced() -> None:
    """Let this process not wait for disks: no test cuts the power, and a search waits for them as long as it works.

    What a killed process has written stays, as ever; tests of what is synchronised put their own in its place.
    """
    os.fsync = lambda descriptor: None  # type: ignore[assignment]


def say_into(output: Path, errors: Path) -> None:
    """Append what this process says to files."""
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115


def _run(target: Callable[..., int], *arguments: Any) -> None:
    assert PRELOADED in sys.modules  # the server would pass over what it cannot import
    sys.modules["torch"].set_num_threads(1)  # makes the thread pool that a fork has lost, which two at once cannot
    code = target(*arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def _script(argv: list[str], folder: Path, environment: Mapping[str, str], output: Path, errors: Path) -> int:
    say_into(output, errors)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = argv, str(Path(argv[0]).parent)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0
