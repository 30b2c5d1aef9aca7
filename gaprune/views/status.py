"""Where a run stands, read from what lies there: nothing is locked, written or waited for."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gaprune.progress import duration
from gaprune.runs import HOLDER_NAME, LOG_NAME, SECONDS, best_of, fact, json_object, share_left
from gaprune.views.axes import flops_share
from gaprune.views.progress import BUDGETS
from gaprune.views.record import RunRecord, newest_state, read_record

CLOCKS_DIFFER = 60.0
"""Seconds that the time at which a process began may be off: clocks are set while a machine runs."""


@dataclass(frozen=True)
class Holder:
    """The process that has a run, or had it when it was killed.

    Attributes:
        pid: of the process.
        host: that it runs on.
        since: when it took the run.
        alive: whether it is there; ``None`` where that cannot be told from here.
    """

    pid: int
    host: str
    since: str
    alive: bool | None


def holder_of(path: Path) -> Holder | None:
    """Who has a run; ``None`` where nobody does."""
    try:
        record = json_object((path / HOLDER_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    pid, host = fact(record, "pid", kind=int), fact(record, "host", kind=str)
    if pid is None or host is None:
        return None
    since = fact(record, "since", kind=str) or "some time"
    return Holder(pid, host, since, _is_alive(pid, since) if host == socket.gethostname() else None)


def status_lines(path: Path) -> list[str]:
    """Where a run stands, in a few lines, and what of it is damaged.

    Raises:
        RunError: there is nothing of a run in the directory.
    """
    record = read_record(path)
    return [*standing(record), *record.damage]


def standing(record: RunRecord) -> list[str]:
    """Where a run stands, as far as it can be read, in a few lines."""
    path = record.path
    lines = [f"{path}: {record.title}", _who(path, record), *_how_far(path, record), *_best(record)]
    failed = sum(one.failure is not None for one in record.evaluated)
    stopped = sum(one.bound for one in record.evaluated)
    if record.evaluated:
        lines.append(f"candidates: {len(record.evaluated):,}, {stopped:,} stopped early, {failed:,} failed")
    return lines


def _who(path: Path, record: RunRecord) -> str:
    holder = holder_of(path)
    if holder is None:
        return "finished" if record.finished else f"nobody is at it; go on with --resume {path}"
    who = f"process {holder.pid} on {holder.host} since {holder.since}"
    if holder.alive is None:
        return f"held by {who}, another machine: whether it is at work cannot be told from here{_last_written(path)}"
    if holder.alive:
        return f"at work: {who}{_last_written(path)}"
    return f"stopped without a word: {who} is gone; go on with --resume {path}"


def _last_written(path: Path) -> str:
    """When the log last grew, of the run or of a part of it."""
    times = []
    for log in (path / LOG_NAME, *path.glob(f"*/{LOG_NAME}")):
        with suppress(OSError):
            times.append(log.stat().st_mtime)
    return f"; last candidate {duration(max(0.0, time.time() - max(times)))} ago" if times else ""


def _how_far(path: Path, record: RunRecord) -> list[str]:
    where = path / record.parts[-1] if record.parts else path
    done = newest_state(where) or fact(record.manifest, "generations_done", kind=int) or 0  # states may not be kept
    wanted = record.wanted
    total = f" of {wanted}" if wanted is not None else ""
    part = f"{record.parts[-1].replace('-', ' ')}, " if record.parts else ""
    line = f"{part}generation {done}{total}"
    seconds = fact(read_record(where).manifest if record.parts else record.manifest, SECONDS, kind=float)
    if seconds is not None and seconds > 0:
        line += f", {duration(seconds)} so far"
        if done and wanted is not None and done < wanted and not record.finished:
            line += f", about {duration(seconds / done * (wanted - done))} left" + (" in this part" if part else "")
    return [line]


def _best(record: RunRecord) -> list[str]:
    """The best accuracy within each budget, of the members or else of the candidates."""
    candidates = (one for one in record.evaluated if one.counts)
    found = ((flops_share(record, one.values), one.values.get(record.judged_by)) for one in candidates)
    pairs = [(share, accuracy) for share, accuracy in found if share is not None and accuracy is not None]
    lines = []
    for budget in BUDGETS:
        members = [row for row in record.rows if row.flops_share <= budget]
        tried = [accuracy for share, accuracy in pairs if share <= budget]
        if members or (tried and not record.rows):
            score = "" if record.score is None else f"{record.score} "
            best = f"{score}{record.in_words(best_of(members, record.rows).search_accuracy if members else max(tried))}"
            lines.append(f"within {share_left(budget)}% of FLOPs: {best} on search {record.shown_on}")
    return lines


def _is_alive(pid: int, since: str) -> bool:
    if pid <= 0:  # these would stand for groups of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return not _is_another(pid, since)


def _is_another(pid: int, since: str) -> bool:
    """Whether a process began only after the run was taken: its number was given away again. Known on Linux alone."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        booted = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        taken = datetime.fromisoformat(since).timestamp()
        return booted + ticks / os.sysconf("SC_CLK_TCK") > taken + CLOCKS_DIFFER
    except (OSError, ValueError, LookupError, StopIteration):
        return False
