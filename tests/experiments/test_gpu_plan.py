"""The plan for a GPU: every step at toy scale, what a step that fails costs, and pieces that are joined again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import gpu
from experiments.gpu_plan import DONE, FAILED, LATE, WAITED, Plan, Step, table
from experiments.parcels import INDEX, join, pack
from gaprune.errors import OptionError, RunError

SCRIPT = Path(gpu.__file__)


def step(name: str, *after: str, limit: float = 30.0, estimate: float = 0.0, alone: bool = False) -> Step:
    return Step(name, "", "", estimate, limit, after, alone)


def planned(folder: Path, steps: list[Step], programs: dict[str, str], **options: float) -> tuple[Plan, list[str]]:
    """A plan whose steps are small programs; its lines."""
    lines: list[str] = []
    given = {"seconds": 60.0, "jobs": 2, **options}
    return (
        Plan(steps, folder, lambda one: [sys.executable, "-c", programs[one.name]], say=lines.append, **given),
        lines,
    )


def test_a_step_that_fails_costs_itself_and_what_needs_it(tmp_path: Path) -> None:
    programs = {"a": "raise SystemExit('no card')", "b": "print('b')", "c": "print('c')", "d": "print('d')"}
    plan, lines = planned(tmp_path, [step("a"), step("b", "a"), step("c"), step("d", "c")], programs)
    assert plan.run() == {"a": FAILED, "b": WAITED, "c": DONE, "d": DONE}
    assert (tmp_path / "d" / "log.txt").read_text() == "d\n"
    assert json.loads((tmp_path / "a" / "status.json").read_text())["why"] == "no card"
    assert json.loads((tmp_path / "b" / "status.json").read_text())["why"] == "needs a"
    assert any("a: failed after" in line and "(no card)" in line for line in lines)


def test_given_again_only_what_is_missing_runs(tmp_path: Path) -> None:
    steps = [step("a"), step("b", "a")]
    planned(tmp_path, steps, {"a": "print(1)", "b": "raise SystemExit(1)"})[0].run()
    plan, lines = planned(tmp_path, steps, {"a": "raise SystemExit('ran again')", "b": "print(2)"})
    plan.forget_failures()
    assert plan.run() == {"a": DONE, "b": DONE}
    assert not any(line.endswith("a: begins") for line in lines)


def test_a_step_is_ended_at_its_limit_with_what_it_has_started(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    beat = f"import time, pathlib\nwhile True: pathlib.Path({str(tmp_path / 'beat')!r}).touch(); time.sleep(0.05)"
    plan, _ = planned(tmp_path / "r", [step("a", limit=3.0), step("b")], {"a": child.format(beat), "b": "pass"})
    assert plan.run() == {"a": LATE, "b": DONE}
    before = (tmp_path / "beat").stat().st_mtime
    time.sleep(0.5)
    assert (tmp_path / "beat").stat().st_mtime == before


def test_a_step_that_takes_times_has_the_machine_to_itself(tmp_path: Path) -> None:
    log = "import time, pathlib; p = pathlib.Path({!r}); p.open('a').write('{} ');"
    line = log + " time.sleep(0.5); p.open('a').write('{} ')"
    programs = {name: line.format(str(tmp_path / "order"), name, name.upper()) for name in "abc"}
    plan, _ = planned(tmp_path / "r", [step("a"), step("b", alone=True), step("c")], programs, jobs=3)
    plan.run()
    assert (tmp_path / "order").read_text().split() == ["a", "A", "b", "B", "c", "C"]


def test_what_does_not_fit_into_the_time_is_not_begun(tmp_path: Path) -> None:
    steps = [step("long", estimate=1_000.0), step("short", estimate=1.0)]
    plan, _ = planned(tmp_path, steps, {"long": "pass", "short": "pass"})
    assert plan.run() == {"long": WAITED, "short": DONE}
    assert json.loads((tmp_path / "long" / "status.json").read_text())["why"] == "no time was left"


def test_pieces_are_small_and_join_to_the_same_files(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for name, size in (("a/weights", 3_000), ("a/result.json", 10), ("b/c/log", 500)):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(os.urandom(size))
    out = tmp_path / "out"
    assert pack(made, out, piece=1_000) == []
    (made / "later").write_bytes(b"x")
    assert pack(made, out, piece=1_000) == []
    sizes = [file.stat().st_size for file in out.glob("part-*")]
    assert max(sizes) == 1_000
    assert all(file.name.startswith("part-001-") for file in out.glob("part-*")), "only the newest stay"
    names = join(out, tmp_path / "joined")
    assert sorted(names) == ["a/result.json", "a/weights", "b/c/log", "later"]
    for name in names:
        assert (tmp_path / "joined" / name).read_bytes() == (made / name).read_bytes()


def test_the_largest_files_stay_behind_where_there_are_too_many_bytes(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name, size in (("large", 50_000), ("middle", 20_000), ("small", 10)):
        (made / name).write_bytes(bytes(size))
    assert pack(made, tmp_path / "out", most=30_000) == ["large"]
    assert sorted(join(tmp_path / "out", tmp_path / "joined")) == ["middle", "small"]


def test_a_damaged_piece_is_named(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_bytes(bytes(2_000))
    pack(tmp_path / "made", tmp_path / "out", piece=5_000)
    piece = tmp_path / "out" / "part-000-01"
    piece.write_bytes(piece.read_bytes()[:-1] + b"!")
    with pytest.raises(RunError, match="part-000-01 is damaged"):
        join(tmp_path / "out", tmp_path / "joined")
    piece.unlink()
    with pytest.raises(RunError, match="part-000-01 cannot be read"):
        join(tmp_path / "out", tmp_path / "joined")
    (tmp_path / "out" / INDEX).unlink()
    with pytest.raises(RunError, match=f"has no {INDEX}"):
        join(tmp_path / "out", tmp_path / "joined")


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False, env=environment
    )


def test_the_readme_lists_the_steps() -> None:
    made = command("--list")
    assert made.stdout.strip() == table(gpu.WHOLE)
    assert made.stdout in (SCRIPT.parent / "GPU.md").read_text()


def test_steps_are_chosen_with_what_they_need() -> None:
    names = [one.name for one in gpu.chosen(["members-vgg16"])]
    assert names == ["images", "baseline-vgg16", "search-vgg16", "members-vgg16"]
    with pytest.raises(OptionError, match="no step begins with 'train': choose of smoke"):
        gpu.chosen(["train"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "out is missing"),
        (("--out", "x"), "data-dir is missing"),
        (("--out", "x", "--quick", "--minutes", "0"), "minutes must be above 0"),
        (("--join", "nowhere"), "join needs a folder"),
        (("--join", "nowhere", "--into", "x"), "nowhere has no index.json"),
        (("--out", "x", "--data-dir", "nowhere.tar"), "no such folder or archive: nowhere.tar"),
        (("--out", "x", "--quick", "--weights", "nowhere"), "no such folder of weights: nowhere"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert made.returncode == 2
    assert made.stderr.startswith("python experiments/gpu.py: error: ")
    assert expected in made.stderr
    assert made.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_step_runs_at_toy_scale(tmp_path: Path) -> None:
    made = command("--quick", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--jobs", "1")
    assert made.returncode == 0, made.stdout + made.stderr
    found = join(tmp_path / "out", tmp_path / "joined")
    steps = [one.name for one in gpu.WHOLE if not one.name.endswith(gpu.OTHERS)]
    for name in steps:
        assert f"{name}/result.json" in found
        assert json.loads((tmp_path / "joined" / name / "status.json").read_text())["status"] == DONE
    assert "baseline-vgg16/vgg16.safetensors" in found
    agreement = json.loads((tmp_path / "joined" / "agreement-vgg16" / "result.json").read_text())
    assert agreement["same_again"] is True
    rows = json.loads((tmp_path / "joined" / "rates-vgg16" / "result.json").read_text())["rows"]
    assert all(row["same_as_local"] for side in rows.values() for row in side)
    page = subprocess.run(
        [sys.executable, str(SCRIPT.with_name("gpu_report.py")), str(tmp_path / "joined"), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{len(steps)} of {len(steps)} steps done" in page.stdout, page.stderr
    text = next(tmp_path.glob("gpu-*.md")).read_text()
    for heading in ("Every path once", "Baselines", "Searches", "Members", "Candidates a second", "Latency"):
        assert f"## {heading}" in text
    assert str(tmp_path) not in text
    _takes_given_weights(tmp_path, tmp_path / "joined" / "baseline-vgg16" / "vgg16.safetensors")


def _takes_given_weights(folder: Path, weights: Path) -> None:
    given = folder / "given"
    given.mkdir()
    shutil.copy(weights, given / "vgg16-cifar10-jpeg.safetensors")
    places = ["--work", str(folder / "work2"), "--out", str(folder / "out2"), "--weights", str(given)]
    made = command("--quick", "--only", "baseline", *places)
    assert made.returncode == 0, made.stdout + made.stderr
    result = json.loads((folder / "work2" / "results" / "baseline-vgg16" / "result.json").read_text())
    assert result["given"] is True
    assert "recipe" not in result
