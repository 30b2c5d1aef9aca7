"""Thousands of damages to files of every kind, and kills at every step of their checksums; counted.

``pytest -n 0 -m faults_long tests/faults`` runs it and writes ``counts.json``, which docs/explanation/reliability.md
shows.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from damages import WAYS, Whole, damages, loads, refusal

import gaprune
from gaprune.commands.lines import export_main, report_main, search_main, status_main
from gaprune.prune import load_statistics
from gaprune.runs import RunDirectory, latest_state
from gaprune.saved import read_metrics

pytestmark = pytest.mark.faults_long

COUNTS = Path(__file__).with_name("counts.json")
EACH = 60
"""Damages of each way to each kind of file."""
CUTS = 400
"""Lengths that a file is cut at, at most; all of them where it is shorter."""
COMMANDS_EVERY = 50
"""One in so many damages is tried through commands, too."""

Refuses = Callable[[Path], str | None]

OF_THE_RUN: tuple[Refuses, ...] = (
    lambda run: refusal(lambda: gaprune.Run(run)),
    lambda run: refusal(lambda: RunDirectory.open(run).close()),
)


@pytest.fixture(scope="session")
def counts() -> Iterator[dict[str, dict[str, int]]]:
    """What was found, by kind of file; written when every kind was tried."""
    found: dict[str, dict[str, int]] = {}
    yield found
    if len(found) == len(KINDS) + 2:
        ordered = {kind: found[kind] for kind in sorted(found)}
        COUNTS.write_text(json.dumps(ordered, indent=2) + "\n")


KINDS = (
    *("manifest.json", "evaluations.jsonl", "front.csv", "ladder.csv", "checksums", "index", "checksums of the front"),
    *("config.json", "genome.json", "metrics.json", "weights", "checksums of a member"),
    *("finetuned config.json", "finetuned metrics.json", "finetuned weights", "finetuned checksums"),
)


def named_by(run: Path, name: str, kind: str) -> list[str | None]:
    """What refuses the run with this file of it, each by a line."""
    folder = (run / name).parent
    if "/" not in name:
        return [one(run) for one in OF_THE_RUN]
    if kind in ("index", "checksums of the front"):
        return [OF_THE_RUN[0](run)]
    if "config" in kind or "weights" in kind:
        return [loads(folder)]
    if "checksums" in kind:
        return [loads(folder), refusal(lambda: read_metrics(folder))]
    if "metrics" in kind:
        return [refusal(lambda: read_metrics(folder))]
    return ["" if status_main([str(run), "--check"]) == 2 else None]


def cuts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The file cut at every length, or at lengths as far apart."""
    step = max(1, len(content) // CUTS)
    for length in range(0, len(content), step):
        yield f"cut at {length}", content[:length]


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_goes_unnoticed(
    whole: Whole,
    copied: Callable[[], Path],
    kind: str,
    counts: dict[str, dict[str, int]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, name = copied(), whole.files()[kind]
    content = (run / name).read_bytes()
    cases = commands = 0
    for way, damaged in (*damages(content, EACH), *cuts(content)):
        (run / name).write_bytes(damaged)
        lines = named_by(run, name, kind)
        assert all(line is not None for line in lines), way
        cases += 1
        if cases % COMMANDS_EVERY == 0:
            mains = (status_main, report_main) if "/" not in name else ()
            for main in mains:
                assert main([str(run)]) == 2, way
                commands += 1
            assert status_main([str(run), "--check"]) == 2, way
            if kind in ("manifest.json", "front.csv"):
                assert search_main(["--trust", "--resume", str(run)]) == 2, way
            if kind == "evaluations.jsonl":  # whose end is made again where it alone is lost
                caplog.clear()
                tried = shutil.copytree(run, run.with_name("tried"))
                assert search_main(["--trust", "--resume", str(tried)]) == 2 or "has lost its last" in caplog.text, way
                shutil.rmtree(tried)
            if kind == "weights":
                member = str((run / name).parent)
                assert export_main([member, "--trust", "--format", "pt2"]) == 2, way
            commands += 1
    capsys.readouterr()
    counts[kind] = {"cases": cases, "through commands": commands, "unnoticed": 0}
    assert cases > len(WAYS) * EACH / 2


def says_the_same(damaged: bytes, content: bytes) -> bool:
    """Whether entries of a JSON object have changed places, and nothing else."""
    try:
        return bool(json.loads(damaged) == json.loads(content))
    except ValueError:
        return False


def test_damaged_states_are_set_aside_and_the_one_before_is_taken(
    copied: Callable[[], Path], counts: dict[str, dict[str, int]]
) -> None:
    run, cases = copied(), 0
    newest = max((run / "state").glob("*.json"))
    files = {file: file.read_bytes() for file in (run / "state").iterdir()}
    wanted, _ = latest_state(run / "state")
    for file in (newest, newest.with_suffix(".safetensors")):
        for way, damaged in (*damages(files[file], EACH), *cuts(files[file])):
            if says_the_same(damaged, files[file]):
                continue
            for left in (run / "state").iterdir():
                left.unlink()
            for place, content in files.items():
                place.write_bytes(damaged if place == file else content)
            state, messages = latest_state(run / "state")
            assert wanted is not None
            assert state is not None, way
            assert state.number == wanted.number - 1, way
            assert len(messages) == 1, way
            assert newest.name in messages[0], way
            cases += 1
    counts["states"] = {"cases": cases, "through commands": 0, "unnoticed": 0}


def test_damaged_statistics_are_collected_anew(
    copied: Callable[[], Path], counts: dict[str, dict[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors import safe_open

    file = copied() / "statistics.safetensors"
    content, cases = file.read_bytes(), 0
    with safe_open(file, framework="pt") as opened:
        key = opened.metadata()["key"]
    for way, damaged in (*damages(content, EACH), *cuts(content)):
        file.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            assert load_statistics(file, key, torch.device("cpu")) is None, way
        cases += 1
    counts["statistics"] = {"cases": cases, "through commands": 0, "unnoticed": 0}
