"""Killed at any moment and resumed, a search leaves what one leaves that was never killed."""

from __future__ import annotations

import random
from pathlib import Path

import killing
from killing import GENERATIONS, POPULATION, Stop, evaluations, left_by

from gaprune.runs import RunDirectory

KILLED = -9


def go_on(argv: list[str], path: Path) -> list[str]:
    """What to start after a kill: the same again until the run is there, and then to go on with it."""
    if (path / "manifest.json").exists():
        return ["--trust", "--resume", str(path), "--generations", str(GENERATIONS)]
    return [*argv, "--generations", str(GENERATIONS), "--output", str(path)]


AT_THE_START = [
    Stop("before", "os.replace", "*/.lock.json"),
    Stop("before", "os.replace", "*/manifest.json"),
    Stop("after", "os.replace", "*/manifest.json"),
    Stop("before", "os.replace", "*/manifest.json"),
    Stop("before", "os.replace", "*/statistics.safetensors"),
    Stop("after", "os.replace", "*/statistics.safetensors"),
    Stop("half", "write"),
    Stop("before", "os.replace", "*/state/000001.safetensors"),
]

IN_THE_SEARCH = [
    Stop("half", "write", nth=POPULATION + 2),
    Stop("after", "write", nth=POPULATION - 1),
    Stop("before", "os.replace", "*/state/000003.safetensors"),
    Stop("after", "os.replace", "*/state/000003.safetensors"),
    Stop("before", "os.replace", "*/state/000003.json"),
    Stop("after", "os.replace", "*/state/000003.json"),
    Stop("after", "os.unlink", "*/state/000001.json"),
    Stop("before", "os.replace", "*/run/checksums.json", 2),
    Stop("after", "os.replace", "*/run/checksums.json"),
]

IN_A_NEW_FRONT = [
    Stop("before", "os.replace", "*/front.partial/*/genome.json", 2),
    Stop("after", "os.replace", "*/front.partial/*/README.md", 2),
    Stop("before", "os.replace", "*/manifest.json", 2),
    Stop("after", "os.replace", "*/manifest.json", 2),
    Stop("after", "os.rename", "*/front.old"),
    Stop("before", "os.rename", "*/front"),
    Stop("after", "os.rename", "*/front"),
    Stop("before", "shutil.rmtree", "*/front.old"),
    Stop("before", "os.replace", "*/front.csv"),
    Stop("after", "os.replace", "*/front.csv"),
    Stop("after", "os.replace", "*/manifest.json", 3),
    Stop("before", "os.replace", "*/checksums.json", 9),
    Stop("after", "os.replace", "*/front.partial/checksums.json"),
    Stop("before", "os.replace", "*/front.png"),
    Stop("after", "os.replace", "*/front.png"),
    Stop("after", "os.replace", "*/manifest.json", 2),
]


def test_killed_wherever_a_search_writes(arguments: list[str], whole: Path, tmp_path: Path) -> None:
    check(arguments, tmp_path / "run", [*AT_THE_START, *IN_THE_SEARCH], whole)


def test_killed_wherever_a_new_front_takes_the_place_of_an_old_one(
    arguments: list[str], whole: Path, old: Path
) -> None:
    check(arguments, old, IN_A_NEW_FRONT, whole)


def check(argv: list[str], path: Path, kills: list[Stop], whole: Path) -> None:
    """Kill at one point, go on to the next, and after the last one to the end."""
    output = path.with_name("output")
    for kill in kills:
        assert killing.search(go_on(argv, path), output, kill) == KILLED, f"{kill}: {output.read_text()}"
        if (path / "evaluations.jsonl").exists():
            with RunDirectory.open(path) as run:
                logged = [{**line, "seconds": 0} for line in run.log.load()]
            assert logged == evaluations(whole)[: len(logged)], str(kill)
    assert killing.search(go_on(argv, path), output) == 0, output.read_text()
    assert left_by(path) == left_by(whole)


def test_killed_at_random_moments_a_dozen_times_in_a_row(arguments: list[str], whole: Path, tmp_path: Path) -> None:
    """Moments from the first instant of a process on; a run that is finished by then is killed as it is shown again."""
    path, output = tmp_path / "run", tmp_path / "output"
    moments, kills, starts = random.Random(4), 0, 0
    while kills < 12:
        process = killing.start(go_on(arguments, path), output)
        starts += 1
        assert starts < 60, "the processes end before they are killed"
        process.join(moments.uniform(0, 1.2))
        process.kill()
        kills += killing.status(process) == KILLED
    assert killing.search(go_on(arguments, path), output) == 0, output.read_text()
    assert left_by(path) == left_by(whole)
    assert output.read_text().count("Traceback") == 0
