"""The command with ``--backend ray``: a Ray of its own, killed and resumed; and what is told when there is none."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from patience import PATIENCE
from safetensors.torch import save_file

TESTS = Path(__file__).parents[1]
SUBMIT = TESTS.parent / "experiments" / "cluster" / "submit.py"
LISTENING = "0A"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}


@pytest.fixture
def arguments(square_folder: Path, trained: torch.nn.Module, tmp_path: Path) -> list[str]:
    checkpoint = tmp_path / "trained.safetensors"
    save_file(trained.state_dict(), checkpoint)
    return [
        *("--model", "tiny_factory:small_residual", "--checkpoint", str(checkpoint)),
        *("--data-dir", str(square_folder), "--cache-dir", str(tmp_path / "cache"), "--device", "cpu"),
        *("--threads", "1", "--search-size", "15", "--calibration-size", "30"),
        *("--population", "4", "--generations", "16", "--fitness", "divergence"),
    ]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gaprune.search", *arguments]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), **more}


def descendants(pid: int) -> set[int]:
    """A process and all that it has started, theirs included."""
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for parent in new for child in _children(parent)} - found
    return found


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, task.read_text().split())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def agents(pids: set[int]) -> set[int]:
    """Ray's two helpers that outlive a killed node by a minute: they hold nothing, and try to report its death."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")):
                found.add(pid)
    return found


def listening(pids: set[int]) -> set[str]:
    """The addresses that these processes listen on."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                found.add(_address(fields[1].partition(":")[0]))
    return found


def _address(text: str) -> str:
    """Of /proc/net/tcp: words of four bytes in this machine's order."""
    raw = b"".join(int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "evaluations.jsonl").read_text().splitlines()]


def test_a_search_whose_driver_is_killed_leaves_no_process_and_goes_on_to_the_same_front(
    arguments: list[str], tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(*arguments, "--output", str(whole)), env=environment(), check=True, capture_output=True)
    ray = [*arguments, "--output", str(broken), "--backend", "ray", "--workers", "2"]
    log = broken / "evaluations.jsonl"
    with subprocess.Popen(
        command(*ray), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for(lambda: log.exists() and log.stat().st_size, process)
        family = descendants(process.pid)
        assert len(family) > 4
        addresses = listening(family)
        process.kill()
    assert addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert 0 < len(lines(broken)) < len(lines(whole))
    end = time.monotonic() + PATIENCE
    while left := {pid for pid in family if alive(pid)} - agents(family):
        assert time.monotonic() < end, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
        time.sleep(0.2)
    for agent in agents(family):
        os.kill(agent, signal.SIGKILL)
    resumed = subprocess.run(
        command("--trust", "--resume", str(broken), "--backend", "local"),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert (broken / "front.csv").read_text() == (whole / "front.csv").read_text()
    assert {line["key"] for line in lines(broken)} == {line["key"] for line in lines(whole)}


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[tuple[str, set[str]]]:
    """The jobs API of a cluster of its own that ``ray start`` made, and the addresses that it listens on."""
    head, jobs, agent, client = free_ports(4)
    started = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={head}", "--num-cpus=2", f"--object-store-memory={100 * 2**20}"),
        *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={jobs}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
    ]
    loopback = environment(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", **TOKEN)
    with (tmp_path / "ray.log").open("w") as log:
        process = subprocess.Popen(started, env=loopback, stdout=log, stderr=log, text=True)
    try:
        wait_for(lambda: answers(jobs), process)
        yield f"http://127.0.0.1:{jobs}", listening(descendants(process.pid))
    finally:
        family = descendants(process.pid)
        process.terminate()
        process.wait(60)
        for left in family:
            with suppress(OSError):
                os.kill(left, signal.SIGKILL)


def answers(port: int) -> bool:
    """Whether the jobs API is there, if only to ask for the token."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/version", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def test_a_search_submitted_as_a_job_is_shown_and_ends_as_it_does(
    arguments: list[str], tmp_path: Path, dashboard: tuple[str, set[str]]
) -> None:
    address, listens = dashboard
    assert listens <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    submit = [sys.executable, str(SUBMIT), "--address", address, "--python", sys.executable, "--"]
    arguments[arguments.index("--generations") + 1] = "3"
    place = ["--output", str(tmp_path / "run")]
    made = subprocess.run([*submit, *arguments, *place], env=environment(**TOKEN), capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "search: 12 of 12" in made.stdout
    assert (tmp_path / "run" / "front.csv").exists()
    again = subprocess.run([*submit, *arguments, *place], env=environment(**TOKEN), capture_output=True, text=True)
    assert again.returncode == 1
    assert "error: " in again.stdout


def test_a_folder_too_long_for_rays_sockets_is_told_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    words = [*arguments, "--output", str(tmp_path / "run"), "--backend", "ray"]
    far = environment(RAY_TMPDIR=str(tmp_path / ("long" * 30)))
    made = subprocess.run(command(*words), env=far, capture_output=True, text=True)
    assert made.returncode == 2, made.stderr
    (line,) = made.stderr.splitlines()
    assert line.startswith("python -m gaprune.search: error: cannot start Ray on this machine: ")
    assert line.endswith("; name a shorter folder by RAY_TMPDIR")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("extra", "variables", "expected"),
    [
        (["--ray-address", "127.0.0.1:1"], {}, "no Ray cluster answers at 127.0.0.1:1: Connection refused"),
        ([], {"RAY_ADDRESS": "127.0.0.1:1"}, "no Ray cluster answers at 127.0.0.1:1: Connection refused"),
        (["--ray-address", "head:port"], {}, "ray-address must be host:port, auto or local, got 'head:port'"),
        (["--workers", "2"], {}, "workers is for Ray workers: add --backend ray"),
        (["--backend", "ray", "--workers", "0"], {}, "workers must be at least 1, got 0"),
        (["--backend", "ray", "--max-retries", "-1"], {}, "max-retries must be at least 0, got -1"),
        (["--backend", "slurm"], {}, "unknown backend 'slurm': choose one of auto, local, ray"),
        (
            ["--backend", "ray", "--threads-per-worker", "3"],
            {},
            "threads and threads-per-worker are the same number, got 1 and 3",
        ),
        (["--backend", "ray", "--gpus-per-worker", "0.5"], {}, "gpus-per-worker has no meaning on device cpu"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_before_anything_is_written(
    arguments: list[str],
    tmp_path: Path,
    extra: list[str],
    variables: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gaprune.commands.search import main

    monkeypatch.syspath_prepend(str(TESTS))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "run"
    assert main([*arguments, "--output", str(output), *extra]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"python -m gaprune.search: error: {expected}")
    assert not output.exists()
