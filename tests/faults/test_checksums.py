"""What lies in a run is as it was written, or a line with status 2 names it: through commands and from Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from damages import MODEL, Whole, commands, damages, loads, one_line, refusal
from resealing import unsealed

import gaprune
from gaprune.commands.lines import finetune_main, search_main, status_main
from gaprune.runs import RunDirectory, differing, read_manifest, read_seal

OF_THE_RUN = ("manifest.json", "evaluations.jsonl", "front.csv", "ladder.csv", "checksums", "index")
OF_A_MEMBER = ("config.json", "genome.json", "metrics.json", "weights", "checksums of a member")
UNREAD = {
    "evaluations.jsonl": ("compare", "export"),
    "ladder.csv": ("compare", "export"),
}
"""Commands that do not look at a file."""

Copy = Callable[[], Path]


def test_an_undisturbed_run_is_whole_and_every_command_takes_it(
    copied: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    assert differing(run)[1] == []
    for name, command in commands(run, tmp_path).items():
        assert command() == 0, (name, capsys.readouterr().err)


@pytest.mark.parametrize("kind", OF_THE_RUN)
def test_every_command_names_a_damaged_file_of_the_run(
    whole: Whole, copied: Copy, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, name = copied(), whole.files()[kind]
    _, damaged = next(iter(damages((run / name).read_bytes(), 1, seed=3)))
    (run / name).write_bytes(damaged)
    for called, command in commands(run, tmp_path).items():
        if called not in UNREAD.get(kind, ()):
            line = one_line(command(), capsys)
            assert Path(name).name in line, called
    assert Path(name).name in str(refusal(lambda: gaprune.Run(run)))


@pytest.mark.parametrize("kind", OF_THE_RUN)
def test_every_way_of_damage_to_a_file_of_the_run_is_named(whole: Whole, copied: Copy, kind: str) -> None:
    run, name = copied(), whole.files()[kind]
    content = (run / name).read_bytes()
    for way, damaged in damages(content, 4):
        (run / name).write_bytes(damaged)
        line = refusal(lambda: RunDirectory.open(run).close())
        seen = refusal(lambda: gaprune.Run(run))
        assert Path(name).name in str(line) or kind == "index", way
        assert Path(name).name in str(seen), way
    (run / name).unlink()
    assert refusal(lambda: gaprune.Run(run)), "gone"


@pytest.mark.parametrize("kind", OF_A_MEMBER)
def test_every_way_of_damage_to_a_member_is_named_where_it_is_loaded(whole: Whole, copied: Copy, kind: str) -> None:
    run, name = copied(), whole.files()[kind]
    content = (run / name).read_bytes()
    for way, damaged in damages(content, 4):
        (run / name).write_bytes(damaged)
        lines = differing(run)[1]
        assert any(Path(name).name in line for line in lines), way
        if kind in ("config.json", "weights", "checksums of a member"):
            assert Path(name).name in str(loads((run / name).parent)), way
    (run / name).unlink()
    assert differing(run)[1], "gone"


@pytest.mark.parametrize(
    "kind", ["genome.json", "metrics.json", "weights", "finetuned weights", "finetuned metrics.json"]
)
def test_commands_that_use_a_member_name_its_damaged_file(
    whole: Whole, copied: Copy, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, name = copied(), whole.files()[kind]
    (run / name).write_bytes((run / name).read_bytes()[:-1] + b" ")
    assert Path(name).name in one_line(status_main([str(run), "--check"]), capsys)
    if "finetuned" in kind:
        assert ("model.safetensors" in str(loads((run / name).parent))) == (kind == "finetuned weights")
        return
    argv = [str(run), "--trust", "--pick", Path(name).parent.name, "--epochs", "1", "--device", "cpu", "--quiet"]
    assert Path(name).name in one_line(finetune_main(argv), capsys)


def test_a_member_that_is_gone_does_not_stay_in_the_table(whole: Whole, copied: Copy) -> None:
    run = copied()
    name = Path(whole.files()["weights"]).parent.name
    shutil.rmtree(run / "front" / name)
    assert f"front/{name}/config.json is gone" in str(refusal(lambda: gaprune.Run(run)))


def test_a_fine_tuned_network_that_is_gone_does_not_stay_in_the_table(whole: Whole, copied: Copy) -> None:
    run = copied()
    name = Path(whole.files()["weights"]).parent.name
    shutil.rmtree(run / "front" / name / "finetuned")
    assert "finetuned/checksums.json is gone" in str(refusal(lambda: gaprune.Run(run)))


def test_checksums_that_are_gone_are_missed(whole: Whole, copied: Copy) -> None:
    for kind in ("checksums", "checksums of the front", "checksums of a member", "finetuned checksums"):
        run, name = copied(), whole.files()[kind]
        (run / name).unlink()
        assert any(name in line for line in differing(run)[1]), kind
        if kind != "finetuned checksums":
            assert "checksums.json is gone" in str(refusal(partial(gaprune.Run, run))), kind
    run = copied()
    name = whole.files()["checksums of a member"]
    (run / name).unlink()
    assert "checksums.json is gone" in str(loads((run / name).parent))


def test_a_log_that_lost_its_last_lines_is_named_though_each_line_is_whole(copied: Copy) -> None:
    run = copied()
    lines = (run / "evaluations.jsonl").read_bytes().splitlines(keepends=True)
    (run / "evaluations.jsonl").write_bytes(b"".join(lines[:-2]))
    line = str(refusal(lambda: RunDirectory.open(run).close()))
    assert f"ends after line {len(lines) - 2}, and {len(lines)} were written" in line


def test_every_option_of_a_manifest_that_is_edited_is_named(copied: Copy) -> None:
    run = copied()
    manifest = json.loads((run / "manifest.json").read_text())
    assert len(manifest["options"]) > 50
    for group in ("options", "identity", "objects"):
        for name, value in manifest[group].items():
            edited = {**manifest, group: {**manifest[group], name: [value, "edited"]}}
            (run / "manifest.json").write_text(json.dumps(edited))
            line = str(refusal(lambda: read_manifest(run)))
            assert f"({group}.{name}: " in line
            assert "is not as it was written" in line


def test_who_edits_a_file_on_purpose_is_told_how_it_is_taken(copied: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied()
    table = (run / "front.csv").read_text()
    (run / "front.csv").write_text(table.rstrip("\n").rpartition("\n")[0] + "\n")
    line = one_line(status_main([str(run)]), capsys)
    assert f"python -m gaprune.status {run} --accept" in line
    assert status_main([str(run), "--accept"]) == 0
    assert "taken as it is: front.csv" in capsys.readouterr().out
    assert len(gaprune.Run(run).rows) == table.count("\n") - 2


@pytest.mark.parametrize(
    "kind", ["ladder.csv", "weights", "checksums", "checksums of a member", "index", "evaluations.jsonl"]
)
def test_what_is_taken_is_whole_afterwards(whole: Whole, copied: Copy, kind: str) -> None:
    run, name = copied(), whole.files()[kind]
    content = (run / name).read_bytes()
    (run / name).write_bytes(
        content.replace(b'"generation": 1', b'"generation": 0', 1) if "jsonl" in name else content[:-2]
    )
    assert differing(run)[1]
    assert status_main([str(run), "--accept"]) == 0
    assert differing(run)[1] == []


def test_what_a_run_was_made_with_is_never_taken(copied: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied()
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["options"]["batch_size"] += 1
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "options.batch_size: 256 -> 257" in one_line(status_main([str(run), "--accept"]), capsys)


def test_a_comparison_names_its_damaged_files(whole: Whole, tmp_path: Path) -> None:
    for name in ("rows/none.json", "times.json", "table.json", "works/none/model.safetensors", "works/none/steps.json"):
        shutil.rmtree(tmp_path / "c", ignore_errors=True)
        copy = Path(shutil.copytree(whole.comparison, tmp_path / "c"))
        assert differing(copy)[1] == []
        (copy / name).write_bytes((copy / name).read_bytes()[:-3] + b"  \n")
        assert [line for line in differing(copy)[1] if str(copy / name) in line], name


def test_a_run_without_checksums_is_of_an_earlier_version_and_gets_them(copied: Copy) -> None:
    run = copied()
    unsealed(run)
    assert gaprune.Run(run).rows
    assert read_seal(run) is None
    member = next(one for one in (run / "front").iterdir() if one.is_dir())
    gaprune.load(member, model=MODEL)
    RunDirectory.open(run).close()
    assert read_seal(run) is not None
    assert gaprune.Run(run).rows
    (run / "evaluations.jsonl").write_bytes((run / "evaluations.jsonl").read_bytes().replace(b"0.", b"1.", 1))
    assert "evaluations.jsonl" in str(refusal(lambda: gaprune.Run(run)))


def test_an_old_run_is_gone_on_with(copied: Copy) -> None:
    run = copied()
    unsealed(run)
    assert search_main(["--trust", "--resume", str(run), "--quiet"]) == 0
    assert status_main([str(run), "--check"]) == 0
