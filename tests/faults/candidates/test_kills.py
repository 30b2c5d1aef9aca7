"""Two hundred kills at random moments, of every kind of work: resumed, nothing is different.

``GAPRUNE_KILLS=FILE pytest -n 0 -s -m faults_long tests/faults/candidates/test_kills.py`` writes to the file, after
each run, how often each kind was killed, and goes on from what stands there: they need not fit one sitting.
``GAPRUNE_KILLS_WANTED=20`` are fewer. docs/explanation/faults.md shows ``tests/faults/kills.json``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path

import killing
import pytest
from works import PLAIN, Kind, differing, kinds, left_by

from gaprune.runs import write_json

COUNTS, WANTED = "GAPRUNE_KILLS", "GAPRUNE_KILLS_WANTED"
KILLS = 200
KILLED = -9
MOST = 8
"""Kills of one run; it then goes on to its end."""

Counts = dict[str, dict[str, int]]


def kill(kind: Kind, run: Path, seconds: float, moments: random.Random) -> int:
    """How often a run was killed before it ended, which it does by itself after the last kill at the latest.

    Args:
        kind: what is started.
        run: its directory.
        seconds: that it takes when nobody kills it.
        moments: when it is killed.
    """
    output, kills, starts = run.with_name("output"), 0, 0
    while True:
        process = killing.start(kind.argv(run), output)
        if kills < MOST and starts < 3 * MOST:
            process.join(moments.uniform(0.2, 1.1 * seconds))
            process.kill()
        starts += 1
        status = killing.status(process)
        assert status in (0, KILLED), output.read_text()
        if status == 0:
            assert "Traceback" not in output.read_text()
            return kills
        kills += 1


def timed(argv: list[str], output: Path) -> float:
    begin = time.monotonic()
    assert killing.search(argv, output) == 0, output.read_text()
    return time.monotonic() - begin


def counted(place: Path | None, names: list[str]) -> Counts:
    """By kind the kills and runs of earlier sittings."""
    before = json.loads(place.read_text()) if place is not None and place.exists() else {}
    return {name: before.get(name, {"kills": 0, "runs": 0}) for name in names}


@pytest.mark.faults_long
@pytest.mark.timeout(0)
def test_two_hundred_kills_change_nothing(tmp_path: Path) -> None:
    place = Path(os.environ[COUNTS]).absolute() if COUNTS in os.environ else None
    wanted = int(os.environ.get(WANTED, KILLS))
    works, whole, seconds = kinds(tmp_path), {}, {}
    counts, plain = counted(place, list(works)), tmp_path / PLAIN / "run"
    for name, kind in works.items():
        run = tmp_path / name.replace(" ", "-") / "run"
        kind.prepare(run, plain)
        seconds[name], whole[name] = timed(kind.argv(run), run.with_name("output")), left_by(run)
    while (kills := sum(one["kills"] for one in counts.values())) < wanted:
        name = min(counts, key=lambda one: counts[one]["kills"])
        number = sum(one["runs"] for one in counts.values()) + 1
        run = tmp_path / f"{number}" / "run"
        works[name].prepare(run, plain)
        done = kill(works[name], run, seconds[name], random.Random(number))
        assert not differing(left_by(run), whole[name]), f"{name}, run {number} in {run}"
        shutil.rmtree(run.parent)
        counts[name] = {"kills": counts[name]["kills"] + done, "runs": counts[name]["runs"] + 1}
        if place is not None:
            write_json(place, counts)
        print(f"{kills + done} kills over {number} runs; {name}: {done}", flush=True)  # noqa: T201 - the figures
