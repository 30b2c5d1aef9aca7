"""Where a run stands, and a page that follows it; neither touches the run."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from gaprune.commands.lines import status_main
from gaprune.errors import OptionError
from gaprune.runs import DirectoryLock
from gaprune.views.live import LivePage, make_server
from gaprune.views.status import status_lines


def everything_in(path: Path) -> dict[str, tuple[int, int]]:
    return {str(one): (one.stat().st_mtime_ns, one.stat().st_size) for one in sorted(path.rglob("*"))}


def held(path: Path, pid: int, host: str) -> None:
    (path / ".lock.json").write_text(json.dumps({"pid": pid, "host": host, "since": "2026-11-27 17:00:00+00:00"}))


def test_a_finished_run_says_so_and_is_not_touched(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything_in(finished)
    assert status_main([str(finished)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "finished"
    assert lines[2].startswith("generation 3 of 3, ")
    assert re.fullmatch(r"within 50\.0% of FLOPs: [0-9.]+% on search images", lines[3])
    assert re.fullmatch(r"candidates: [0-9]+, [0-9]+ stopped early, 0 failed", lines[-1])
    assert everything_in(finished) == before


def test_who_is_at_it_is_told_while_a_search_holds_it(copied: Path) -> None:
    lock = DirectoryLock(copied)
    lock.acquire()
    try:
        (line,) = (line for line in status_lines(copied) if line.startswith("at work: "))
        assert f"process {os.getpid()} on {socket.gethostname()} since " in line
    finally:
        lock.release()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    held(copied, int(ended.stdout), socket.gethostname())
    assert any("stopped without a word: process " in line for line in status_lines(copied))
    held(copied, 1, "elsewhere")
    assert any("another machine: whether it is at work cannot be told" in line for line in status_lines(copied))
    (copied / ".lock.json").write_text("{")
    assert "finished" in status_lines(copied)


def test_a_number_that_another_process_has_by_now_is_nobody_at_work(copied: Path) -> None:
    since = "2001-01-01 00:00:00+00:00"  # long before this process began
    for pid in (os.getpid(), 0, -1, 10**30):
        holder = {"pid": pid, "host": socket.gethostname(), "since": since}
        (copied / ".lock.json").write_text(json.dumps(holder))
        if pid != os.getpid() or Path("/proc/stat").exists():
            assert any(f"process {pid} on " in line and " is gone" in line for line in status_lines(copied))


def test_time_left_is_told_of_a_search_that_is_not_at_its_end(copied: Path) -> None:
    (copied / "front.csv").unlink()
    for file in (copied / "state").glob("000003.*"):
        file.unlink()
    (line,) = (line for line in status_lines(copied) if line.startswith("generation "))
    assert re.fullmatch(r"generation 2 of 3, [0-9]+ s so far, about [0-9]+ s left", line)


def test_the_status_of_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert status_main([]) == 2
    assert "RUN is missing: give a run directory" in capsys.readouterr().err


@contextmanager
def served(*paths: Path) -> Iterator[str]:
    with make_server(LivePage(paths), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def got(address: str) -> str:
    with urlopen(address, timeout=20) as answer:
        return str(answer.read().decode())


def test_a_live_page_follows_a_search_that_is_killed_and_resumed(copied: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(copied, tmp_path / "whole")
    log = (copied / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (copied / "front.csv").unlink()
    for file in (copied / "state").iterdir():
        file.unlink()
    (copied / "evaluations.jsonl").write_text("".join(log[:4]))
    with served(copied) as address:
        first = got(f"{address}/stamp")
        page = got(address)
        assert f'"live": "{first}"' in page
        assert "4 candidates" in page
        assert "connect-src 'self'" in page.replace("&#39;", "'")
        for file in (whole / "state").iterdir():  # the search was resumed, and has done generations
            shutil.copy(file, copied / "state" / file.name)
        shutil.copy(whole / "evaluations.jsonl", copied / "evaluations.jsonl")
        second = got(f"{address}/stamp")
        assert second != first
        assert f"{len(log)} candidates" in got(address)
        shutil.copy(whole / "front.csv", copied / "front.csv")
        assert got(f"{address}/stamp") != second
        assert "networks on the front" in got(address)
        shutil.rmtree(copied)  # what was shown last is shown on
        assert "networks on the front" in got(address)
        with pytest.raises(HTTPError, match="404"):
            got(f"{address}/etc/passwd")


def test_a_browser_that_goes_away_is_not_told(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(page: LivePage) -> str:
        raise BrokenPipeError

    with served(finished) as address:
        monkeypatch.setattr(LivePage, "page", gone)
        with pytest.raises(ConnectionError):
            got(address)
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_one_line(finished: Path) -> None:
    page = LivePage([finished])
    with make_server(page, 0) as server, pytest.raises(OptionError, match=rf"port {server.server_port} cannot be had"):
        make_server(page, server.server_port)
