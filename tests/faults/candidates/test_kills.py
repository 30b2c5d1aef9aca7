"""Two hundred kills at random moments, of every kind of search and of fine-tuning: resumed, nothing is different."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import killing
import pytest
from subject import arguments_of
from tuning import left_by

KILLS = 200
KILLED = -9
FEW = ["--generations", "3"]

TINY = ["--epoch-images", "60"]

KINDS = {
    "plain": FEW,
    "polish": [*FEW, "--polish"],
    "both genes": [*FEW, "--genes", "both"],
    "racing": [*FEW, "--racing", "0.9"],
    "isolated": [*FEW, "--isolate"],
    "limits": [*FEW, "--max-flops", "0.6", "--min-accuracy", "0.2"],
    "rounds": ["--algorithm", "rounds", "--rounds", "2", "--round-generations", "2", "--selected", "2"],
    "trained rounds": [
        *("--algorithm", "rounds", "--rounds", "2", "--round-generations", "1", "--selected", "2"),
        *("--round-epochs", "1", *TINY),
    ],
    "iterations": ["--generations", "2", "--iterations", "2", "--iteration-epochs", "1", *TINY],
}

TUNED = ["--epochs", "2", "--device", "cpu", "--threads", "1", "--epoch-images", "60"]
TUNINGS = {"finetune": ["--pick", "knee", *TUNED], "shared": ["--pick", "all", "--shared", *TUNED]}


@dataclass
class Chain:
    """One command, killed and started again until it ends by itself.

    Attributes:
        begin: what is started first.
        go_on: what is started when the run is there.
        run: its directory.
        seconds: that it takes when nobody kills it.
    """

    begin: list[str]
    go_on: list[str]
    run: Path
    seconds: float

    def kill(self, moments: random.Random, most: int) -> int:
        """How often it was killed before it ended, which it does by itself after the last kill at the latest."""
        output, kills, starts = self.run.with_name("output"), 0, 0
        while True:
            argv = self.go_on if (self.run / "manifest.json").exists() else self.begin
            process = killing.start(argv, output)
            if kills < most and starts < 3 * most:
                process.join(moments.uniform(0.2, 1.1 * self.seconds))
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


@pytest.mark.faults_long
def test_two_hundred_kills_change_nothing(tmp_path: Path) -> None:
    arguments, moments, counts = arguments_of(tmp_path, 0), random.Random(7), dict.fromkeys((*KINDS, *TUNINGS), 0)
    whole, seconds = {}, {}
    for kind, options in KINDS.items():
        whole[kind] = tmp_path / kind.replace(" ", "-") / "run"
        argv = [*arguments, *options, "--output", str(whole[kind])]
        whole[kind].parent.mkdir()
        seconds[kind] = timed(argv, whole[kind].with_name("output"))
    for kind, options in TUNINGS.items():
        whole[kind] = shutil.copytree(whole["plain"], tmp_path / kind / "run")
        seconds[kind] = timed(["finetune", str(whole[kind]), *options], whole[kind].with_name("output"))
    runs = 0
    while sum(counts.values()) < KILLS:
        kind = min(counts, key=counts.__getitem__)
        runs += 1
        run = tmp_path / f"{runs}" / "run"
        run.parent.mkdir()
        if kind in KINDS:
            begin, go_on = [*arguments, *KINDS[kind], "--output", str(run)], ["--trust", "--resume", str(run)]
        else:
            shutil.copytree(whole["plain"], run)
            begin = go_on = ["finetune", str(run), *TUNINGS[kind]]
        counts[kind] += Chain(begin, go_on, run, seconds[kind]).kill(moments, most=8)
        assert left_by(run) == left_by(whole[kind]), f"{kind}, run {runs}"
        shutil.rmtree(run.parent)
        told = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        print(f"{sum(counts.values())} kills over {runs} runs: {told}", flush=True)  # noqa: T201 - the figures
