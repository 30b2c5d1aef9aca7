"""What a search finds when it goes on: damage, other options, another owner, an older front."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import killing
import pytest
from killing import GENERATIONS, OLD, Stop, evaluations, left_by
from resealing import resealed

from gaprune.commands.lines import status_main
from gaprune.commands.search import main
from gaprune.runs.lock import HOLDER_NAME, DirectoryLock

MORE = ["--generations", str(GENERATIONS)]


def go_on(path: Path, *options: str) -> str:
    """Go on with a run in a process of its own; what that says."""
    output = path.with_name("output")
    assert killing.search(["--trust", "--resume", str(path), *options], output) == 0, output.read_text()
    return output.read_text()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def without_damaged(path: Path) -> dict[str, object]:
    return {name: content for name, content in left_by(path).items() if not name.endswith(".damaged")}


@pytest.mark.parametrize(
    ("damage", "kind", "states"),
    [
        (cut, "safetensors", (2,)),
        (Path.unlink, "safetensors", (2,)),
        (Path.unlink, "json", (2,)),
        (flip, "safetensors", (2, 1)),
        (Path.unlink, "json", (2, 1)),
    ],
)
def test_a_damaged_state_is_named_and_the_run_ends_as_if_it_had_been_whole(
    part: Path, whole: Path, damage: Callable[[Path], None], kind: str, states: tuple[int, ...]
) -> None:
    """The last good one is used; where none is left, the search begins again and evaluates nothing twice."""
    names = [f"00000{number}.{kind}" for number in states]
    for name in names:
        damage(part / "state" / name)
    said = go_on(part)
    assert without_damaged(part) == left_by(whole)
    for name in names:
        stem = name.split(".")[0]
        named = [line for line in said.splitlines() if line.startswith(f"WARNING: state {part / 'state' / stem}.")]
        assert len(named) == 1
        unfinished = kind == "json" and damage is Path.unlink
        assert ("was not saved to its end" if unfinished else "is damaged and set aside") in named[0]
        assert (part / "state" / f"{stem}.json.damaged").exists() == (not unfinished)


@pytest.mark.parametrize("back", [0, 2])
def test_a_log_that_goes_beyond_the_state_changes_nothing(whole: Path, part: Path, tmp_path: Path, back: int) -> None:
    """Whatever generation is gone back to, each later one is told what it was told then, bounds included."""
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / "state")
    (run / "state").mkdir()
    for source in (part, whole):
        for file in source.glob("state/*"):
            if int(file.stem) <= back:
                shutil.copy(file, run / "state")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "generations_done": None}))
    resealed(run)
    before = (run / "evaluations.jsonl").read_bytes()
    assert any(line["bound"] for line in evaluations(run) if line["generation"] == GENERATIONS - 1)
    go_on(run)
    assert (run / "evaluations.jsonl").read_bytes() == before
    assert left_by(run) == left_by(whole)


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_statistics_are_named_and_collected_anew(
    part: Path, whole: Path, damage: Callable[[Path], None]
) -> None:
    file = part / "statistics.safetensors"
    size = file.stat().st_size
    damage(file)
    said = go_on(part)
    assert f"WARNING: {file} is damaged, the statistics are collected anew: " in said
    assert "statistics: 60 images" in said
    assert file.stat().st_size == size
    assert left_by(part) == left_by(whole)


def test_a_log_that_lacks_what_a_state_rests_on_is_named_and_can_be_made_again(
    part: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (part / "evaluations.jsonl").unlink()
    assert main(["--trust", "--resume", str(part)]) == 2
    assert f"{part / 'evaluations.jsonl'} ends after line 0, and " in capsys.readouterr().err
    assert status_main([str(part), "--accept"]) == 0
    capsys.readouterr()
    assert main(["--trust", "--resume", str(part)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{part / 'evaluations.jsonl'} lacks" in line
    assert f"remove {part / 'state'}" in line
    shutil.rmtree(part / "state")
    go_on(part)
    assert left_by(part) == left_by(whole)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ("--population 8", "population: 5 -> 8"),
        ("--seed 3", "seed: 0 -> 3"),
        ("--genes both", "genes: neurons -> both"),
        ("--algorithm random", "algorithm: auto -> random"),
        ("--max-flops 0.5", "max_flops: none -> 0.5"),
        ("--objectives loss,flops", "objectives: accuracy,flops -> loss,flops"),
        ("--compensation none", "compensation: taps -> none"),
        ("--importance l2", "importance: obs -> l2"),
        ("--precision bfloat16", "precision: float32 -> bfloat16"),
        ("--threads 2", "threads: 1 -> 2"),
        ("--batch-size 20", "batch_size: 10 -> 20"),
        ("--search-size 50", "search_size: 60 -> 50"),
        ("--model vgg16", "model: tiny_factory:small_residual -> vgg16"),
        ("--seed 3 --generations 9 --genes both", "genes: neurons -> both; seed: 0 -> 3"),
    ],
)
def test_a_changed_option_is_shown_as_a_difference_and_refused(
    old: Path, capsys: pytest.CaptureFixture[str], options: str, difference: str
) -> None:
    before = left_by(old)
    assert main(["--trust", "--resume", str(old), *options.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert f"cannot change on resume: {difference} (leave it out, or start a new run)" in line
    assert left_by(old) == before


def test_what_may_change_is_taken_over_and_remembered(old: Path, whole: Path, arguments: list[str]) -> None:
    checkpoint = Path(arguments[arguments.index("--checkpoint") + 1])
    moved = shutil.copy(checkpoint, old.with_name("moved.safetensors"))
    go_on(old, *MORE, "--pick", "flops<=0.3", "--checkpoint", str(moved), "--population", "5")
    options = json.loads((old / "manifest.json").read_text())["options"]
    assert (options["generations"], options["pick"]) == (GENERATIONS, "flops<=0.3")
    assert (options["checkpoint"], options["population"]) == (str(moved), 5)
    assert evaluations(old) == evaluations(whole)


def test_a_second_process_is_refused_and_told_who_goes_on(part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = DirectoryLock(part)
    lock.acquire()
    output = part.with_name("output")
    for argv in (["--trust", "--resume", str(part)], ["--output", str(part)]):
        assert killing.search(argv, output) == 2
        line = output.read_text().splitlines()[-1]
        assert f"{part} is in use by process {os.getpid()} on host" in line
    lock.release()


def test_a_dead_holders_lock_is_taken_over_though_it_names_another_host(part: Path, whole: Path) -> None:
    holder = part / HOLDER_NAME
    left = json.loads(holder.read_text())  # by the process that was killed
    assert left["pid"] != os.getpid()
    holder.write_text(json.dumps({**left, "host": "another-host"}))
    go_on(part)
    assert left_by(part) == left_by(whole)


def test_a_longer_search_replaces_the_old_front_whole(old: Path, whole: Path) -> None:
    (old / "front" / "99").mkdir()
    (old / "front" / "99" / "README.md").write_text("of the old front")
    assert json.loads((old / "manifest.json").read_text())["generations_done"] == OLD
    go_on(old, *MORE)
    assert left_by(old) == left_by(whole)


@pytest.mark.parametrize(
    "kill",
    [Stop("before", "os.replace", "*/front.partial/*/genome.json", 2), Stop("after", "os.replace", "*/front.csv")],
    ids=str,
)
def test_a_polished_front_never_passes_for_the_plain_one(whole: Path, tmp_path: Path, kill: Stop) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    assert killing.search(["--trust", "--resume", str(run), "--polish"], tmp_path / "output", kill) == -9
    go_on(run, "--no-polish")
    assert left_by(run) == left_by(whole)


def test_polish_replaces_the_front_and_can_be_taken_back(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    go_on(run, "--polish")
    assert any("polished" in json.loads(file.read_text())["made"] for file in run.glob("front/*/metrics.json"))
    go_on(run, "--no-polish")
    assert left_by(run) == left_by(whole)
