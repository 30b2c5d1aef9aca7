"""Stopped by Ctrl-C, by a batch system or by a full disk: one line says how to go on, and what was on disk stays."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Any

import killing
from killing import GENERATIONS, OLD, Full, Stop, left_by

PROG = ["python", "-m", "gaprune.search"]


def last_line(output: Path) -> str:
    text = output.read_text()
    assert "Traceback" not in text
    return text.splitlines()[-1]


def command_in(line: str) -> list[str]:
    """The arguments of the command that a line says to go on with."""
    words = shlex.split(line.split("go on with: ")[1])
    assert words[:3] == PROG
    return words[3:]


STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}

IN_PREPARATION = "gaprune.session.engine.collect", "*"
IN_THE_SEARCH = "os.replace", "*/state/000003.json"
IN_THE_FRONT = "os.replace", "*/front.partial/*/genome.json"


def test_the_command_that_a_stop_prints_goes_on_until_the_run_is_finished(
    arguments: list[str], whole: Path, tmp_path: Path
) -> None:
    run, output = tmp_path / "a run's  $place", tmp_path / "output"
    typed = [*arguments, "--generations", str(GENERATIONS), "--no-polish", "--output", str(run)]
    argv = typed
    for call, path in (IN_PREPARATION, IN_THE_SEARCH, IN_THE_FRONT):
        for sign, expected in STOPPED.items():
            assert killing.search(argv, output, Stop("before", call, path, sign=sign)) == expected
            line = last_line(output)
            argv = command_in(line)
            if (call, path) == IN_PREPARATION:
                assert "stopped before the search began" in line
                assert sorted(argv) == sorted(typed)
                assert not run.exists()
            else:
                assert "nothing is lost" in line
                assert argv == ["--resume", str(run), *arguments[:2]], "with the network that is of a module"
                assert not (run / "front.partial").exists()
    assert killing.search(argv, output) == 0, output.read_text()
    assert left_by(run) == left_by(whole)


def test_a_resume_that_is_stopped_in_its_preparation_repeats_what_was_typed(part: Path, tmp_path: Path) -> None:
    output, argv = tmp_path / "output", ["--trust", "--resume", str(part), "--generations", "7", "--pick", "flops<=0.3"]
    stop = Stop("before", "gaprune.session.job.make_evaluator", sign=signal.SIGINT)
    assert killing.search(argv, output, stop) == 130
    assert sorted(command_in(last_line(output))) == sorted(argv)


FULL = [
    Full("*/.manifest.json.*"),
    Full("*/.statistics.safetensors.*"),
    Full("*/state/.000003.safetensors.*"),
    Full("*/state/.000003.json.*"),
    Full("*/evaluations.jsonl"),
    Full("*/front.partial/*/.model.safetensors.*", 2),
    Full("*/.manifest.json.*", 2),
    Full("*/.front.csv.*"),
    Full("*/.front.png.*"),
]


def test_a_full_disk_is_one_line_and_what_was_there_stays(whole: Path, old: Path) -> None:
    """One full disk after the other while a run goes on that has an old front."""
    output, argv = old.with_name("output"), ["--trust", "--resume", str(old), "--generations", str(GENERATIONS)]
    (old / "statistics.safetensors").unlink()
    for full in FULL:
        before = left_by(old)
        assert killing.search(argv, output, full) == 2, f"{full}: {output.read_text()}"
        line = last_line(output)
        assert line.startswith("python -m gaprune.search: error: cannot write ")
        assert line.endswith(": File too large")
        check_kept(before, left_by(old))
    assert killing.search(argv, output) == 0, output.read_text()
    assert left_by(old) == left_by(whole)


def check_kept(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Nothing is there by half, no state or evaluation is lost, and the old front stays until it is replaced."""
    assert not [name for name in after if ".tmp" in name or "partial" in name or ".damaged" in name]
    states = [sorted(name for name in files if name.startswith("state/")) for files in (before, after)]
    assert states[1][-2:] >= states[0][-2:]
    assert {Path(name).stem for name in states[1] if name.endswith(".json")} == {Path(name).stem for name in states[1]}
    assert after["evaluations.jsonl"][: len(before["evaluations.jsonl"])] == before["evaluations.jsonl"]
    if after["manifest.json"]["generations_done"] == OLD:
        front = [name for name in before if name.startswith("front")]
        assert front
        assert [after[name] for name in front] == [before[name] for name in front]
