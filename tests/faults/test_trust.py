"""A run of a stranger's: it imports nothing, it writes nothing outside of itself, it reads no pickles."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damages import MODEL, Whole, commands, one_line, refusal
from resealing import resealed

import gaprune
from gaprune.commands.lines import compare_main, export_main, finetune_main, search_main
from gaprune.compress.storage import load_runner
from gaprune.errors import CheckpointError
from gaprune.options import imports, named_again, students_of
from gaprune.runs import RunDirectory, inside, read_csv, read_seal
from gaprune.text.encoder import check_encoder

Copy = Callable[[], Path]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether a module ``stranger`` of the working folder was imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "stranger.py").write_text(
        "open('came', 'w').close()\ndef make(num_classes): raise SystemExit\nGOAL = 3\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return (folder / "came").exists


def rewritten(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def test_names_of_modules_are_told_from_built_in_ones() -> None:
    assert [imports(name) for name in ("vgg16", "torchvision:resnet18", "timm:vit", "gaprune.models:x")] == [False] * 4
    assert imports("gaprune_nets:make")
    assert students_of("distill:a.b:make+quantize") == ["a.b:make"]
    assert students_of("distill:ours:03+quantize") == []
    assert named_again({"model": "vgg16", "objectives": ["accuracy", "a:B"]}) == ["--objectives accuracy,a:B"]


@pytest.mark.parametrize("name", ["search", "finetune", "compare", "export"])
def test_no_command_imports_what_a_manifest_or_a_configuration_names(
    copied: Copy, tmp_path: Path, canary: Callable[[], bool], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    rewritten(run / "manifest.json", lambda manifest: manifest["options"].update(model="stranger:make"))
    for file in run.rglob("config.json"):
        rewritten(file, lambda config: config.update(model="stranger:make"))
    resealed(run)
    argv = {
        "search": (search_main, ["--resume", str(run)]),
        "finetune": (finetune_main, [str(run), "--pick", "0"]),
        "compare": (
            compare_main,
            ["--run", str(run), "--methods", "none,ours:00:raw", "--output", str(tmp_path / "t")],
        ),
        "export": (export_main, [str(run), "--pick", "0"]),
    }
    main, words = argv[name]
    line = one_line(main(words), capsys)
    assert "names stranger:make, and nothing is imported because a file says so" in line
    assert "--trust" in line
    assert not canary()


def test_objectives_of_a_manifest_are_not_imported_either(
    copied: Copy, canary: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    named = ["accuracy", "stranger:GOAL"]
    rewritten(run / "manifest.json", lambda manifest: manifest["options"].update(objectives=named))
    resealed(run)
    for given in ([], ["--model", MODEL]):
        line = one_line(search_main(["--resume", str(run), *given]), capsys)
        assert "and nothing is imported because a file says so" in line
    assert not canary()
    one_line(search_main(["--trust", "--resume", str(run)]), capsys)
    assert canary(), "who trusts the run lets it"


def test_loading_imports_what_the_caller_names_alone(copied: Copy, canary: Callable[[], bool]) -> None:
    run = copied()
    member = run / read_csv(run / "front.csv")[0].path
    rewritten(member / "config.json", lambda config: config.update(model="stranger:make"))
    resealed(run)
    with pytest.raises(CheckpointError, match="names stranger:make, and nothing is imported"):
        gaprune.load(member)
    assert gaprune.load(member, model=MODEL) is not None
    assert not canary()


def test_members_are_loaded_onto_the_network_that_was_named_whatever_they_say(
    copied: Copy, canary: Callable[[], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    for file in run.rglob("config.json"):
        rewritten(file, lambda config: config.update(model="stranger:make"))
    resealed(run)
    argv = [str(run), "--model", MODEL, "--pick", "0", "--epochs", "1", "--device", "cpu", "--threads", "1"]
    assert finetune_main(argv) == 0, capsys.readouterr().err
    assert not canary()


def test_rows_of_a_comparison_import_nothing(whole: Whole, tmp_path: Path, canary: Callable[[], bool]) -> None:
    table = Path(shutil.copytree(whole.comparison, tmp_path / "table"))
    work = table / "works" / "none"
    rewritten(work / "network.json", lambda network: network["base"].update(model="stranger:make"))
    resealed(table)
    with pytest.raises(CheckpointError, match="names stranger:make, and nothing is imported"):
        load_runner(work)
    assert not canary()


@pytest.mark.parametrize(
    "path", ["/tmp/elsewhere", "../elsewhere", "front/../../elsewhere", "C:/x", "front/./x", "~/x"]
)
def test_a_path_that_leads_away_is_refused_wherever_a_file_says_it(copied: Copy, path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not lead below"):
        inside(path)
    run = copied()
    rows = list(csv.reader(io.StringIO((run / "front.csv").read_text())))
    rows[1][rows[0].index("path")] = path
    (run / "front.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    resealed(run)
    assert "front.csv is damaged at line 2: the path" in str(refusal(lambda: read_csv(run / "front.csv")))
    for name, command in commands(run, tmp_path).items():
        if name != "status --check":
            assert command() == 2, name
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["../x", "/tmp", "..", ".", "a/b", "", "\x00"])
def test_an_index_names_a_member_beside_it_alone(copied: Copy, name: str) -> None:
    run = copied()
    (run / "front" / "00").write_text(name)
    resealed(run)
    assert "front/00 is damaged: expected the name of a member" in str(
        refusal(lambda: gaprune.load(run / "front" / "00", model=MODEL))
    )


@pytest.mark.parametrize(
    "what", ["front", "state", "evaluations.jsonl", ".lock", "finetuning", "front/{member}/finetuned"]
)
def test_nothing_is_written_through_a_link(
    copied: Copy, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, away = copied(), tmp_path / "away"
    away.mkdir()
    (away / "kept").write_text("as it was")
    link = run / what.format(member=Path(read_csv(run / "front.csv")[0].home).name)
    if link.is_dir():
        shutil.copytree(link, away, dirs_exist_ok=True)
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(away if what not in ("evaluations.jsonl", ".lock") else away / "kept")
    before = {file: file.read_bytes() for file in away.rglob("*") if file.is_file()}
    for main, words in (
        (search_main, ["--trust", "--resume", str(run), "--generations", "3"]),
        (finetune_main, [str(run), "--trust", "--pick", "all", "--epochs", "1"]),
        (export_main, [str(run), "--trust", "--pick", "0", "--format", "pt2"]),
    ):
        line = one_line(main(words), capsys)
        assert "is a link to" in line or "damaged" in line or "not as it was" in line
    assert {file: file.read_bytes() for file in away.rglob("*") if file.is_file()} == before


def test_a_run_may_lie_behind_a_link_and_links_within_it_are_its_own(copied: Copy, tmp_path: Path) -> None:
    run = copied()
    (tmp_path / "link").symlink_to(run)
    (run / "best").symlink_to(run / "front")
    RunDirectory.open(tmp_path / "link").close()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../weights.safetensors", "/tmp/weights.safetensors", 3])
def test_shards_of_an_encoder_are_safetensors_beside_their_index(tmp_path: Path, shard: object) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("a\n")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError, match=r"names .*: expected a \.safetensors file beside it"):
        check_encoder(str(tmp_path))


@pytest.mark.parametrize("name", ["/dev/zero", "../elsewhere", "front/../../x"])
def test_checksums_list_what_lies_below_alone(copied: Copy, name: str) -> None:
    run = copied()
    seal = read_seal(run)
    assert seal is not None
    seal.allowing(name, "0" * 64).write(run)
    assert "checksums.json is not as it was written" in str(refusal(lambda: gaprune.Run(run)))


def test_what_is_no_file_is_not_read_for_ever(copied: Copy) -> None:
    run = copied()
    (run / "ladder.csv").unlink()
    (run / "ladder.csv").symlink_to("/dev/zero")
    assert "it is no regular file" in str(refusal(lambda: gaprune.Run(run)))
