"""Members of a search of texts as rows of a comparison."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resealing import resealed
from tiny_texts import write_encoder, write_tsv

import gaprune
from gaprune.commands.lines import compare_main
from gaprune.compress import Front, TorchRunner, load_runner
from gaprune.runs import read_csv, read_manifest, write_csv
from gaprune.text import training
from gaprune.text.compare import default_methods
from gaprune.text.data import load_texts
from gaprune.text.heads import shapes
from gaprune.text.rows import USUAL
from gaprune.text.searching import held_out

FAST = ["--epochs", "1", "--batch-size", "16", "--threads", "1", "--batch", "4", "--device", "cpu"]


def compared(run: Path, output: Path, methods: str, *more: str) -> int:
    return compare_main(["--run", str(run), "--methods", methods, *FAST, "--output", str(output), *more])


def rows_of(output: Path) -> dict[str, Any]:
    return {row["chain"]: row for row in json.loads((output / "table.json").read_text())["rows"]}


def error_of(status: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert status == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("python -m gaprune.compare: error: ")
    return line


def changed(run: Path, folder: Path, **options: Any) -> Path:
    """A copy of a run whose manifest says something else of what it was made from."""
    shutil.copytree(run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["task"]["named"] |= options
    (folder / "manifest.json").write_text(json.dumps(manifest))
    resealed(folder)
    return folder


@pytest.fixture(scope="module")
def table(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of a member, as the search left it, trained, and quantized, with the original and a pruned one."""
    output = tmp_path_factory.mktemp("comparison") / "table"
    methods = "none,ours:knee:raw,ours:knee,ours:knee+quantize,prune:taylor-global:keep=0.5"
    assert compared(finished, output, methods) == 0
    return output


def test_a_member_is_a_row_by_its_index_and_has_the_f1_that_the_run_says(finished: Path, table: Path) -> None:
    front, rows = Front(finished), rows_of(table)
    knee = front.row("knee")
    raw = rows[f"ours:{knee.index:02d}:raw"]
    assert raw["metrics"]["f1_positive"] == pytest.approx(knee.test_accuracy)
    assert raw["params"] == knee.params < rows["none"]["params"]
    told = raw["steps"][0]["report"]
    assert (told["member"], told["search F1"]) == (knee.index, knee.search_accuracy)
    assert f"`ours:{knee.index:02d}+quantize`" in (table / "paper.md").read_text()


def test_a_trained_member_spends_what_a_pruned_row_spends(finished: Path, table: Path) -> None:
    rows, knee = rows_of(table), f"ours:{Front(finished).row('knee').index:02d}"
    pruned, raw, trained, small = (
        rows[chain] for chain in ("prune:taylor-global:keep=0.5", f"{knee}:raw", knee, f"{knee}+quantize")
    )
    assert [row["passes"] for row in (raw, trained, small, pruned)] == [0, 1, 1, 1]
    assert {row["steps"][0]["report"]["training"]["steps"] for row in (trained, small, pruned)} == {8}, "of 16 texts"
    assert "ONNX" in small["runtime"]
    assert trained["params"] == raw["params"] == small["params"]
    member = gaprune.load(finished / Front(finished).row("knee").path)
    assert shapes(torch_network(table / trained["path"])) == shapes(member)


def torch_network(folder: Path) -> torch.nn.Module:
    runner = load_runner(folder)
    assert isinstance(runner, TorchRunner)
    return runner.model


def test_rows_begin_with_the_original_of_the_run_and_learn_no_text_that_members_were_chosen_by(
    place: Path, finished: Path, table: Path
) -> None:
    manifest, run = read_manifest(table), read_manifest(finished)
    rest, _ = held_out(load_texts(str(place / "reviews.tsv")), 40, 0)
    assert f"{len(rest.train)} to train on" in json.dumps(json.loads((table / "table.json").read_text())["data"])
    assert rows_of(table)["none"]["metrics"]["f1_positive"] == pytest.approx(run["original"]["test_accuracy"])
    assert manifest["options"]["encoder"] == str(place / "encoder"), "brought by the run"
    assert manifest["identity"]["settings"]["encoder"]["epochs"] == 1, "of rows; the original was trained by the run"
    assert (table / "original" / "tokenizer").is_dir()


def test_it_goes_on_without_the_cache_and_knows_its_model(
    finished: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = shutil.copytree(table, tmp_path / "table")
    before = rows_of(output)
    monkeypatch.setattr(training, "_stretch", lambda *_: pytest.fail("something was trained again"))
    more = ["--cache-dir", str(tmp_path / "nothing"), "--methods", "ours:flops<=0.9:raw"]
    assert compare_main(["--resume", str(output), *more]) == 0
    index = Front(finished).row("flops<=0.9").index
    assert list(rows_of(output)) == list(dict.fromkeys([*before, f"ours:{index:02d}:raw"]))
    rows = read_csv(finished / "front.csv")
    moved = shutil.copytree(finished, tmp_path / "moved")
    write_csv([replace(row, key=row.key[::-1]) for row in rows], moved / "front.csv")
    resealed(moved)
    capsys.readouterr()
    line = error_of(compare_main(["--resume", str(output), "--run", str(moved)]), capsys)
    assert f"compares members of another front than that of {moved}" in line


def test_an_original_that_the_cache_has_lost_is_fine_tuned_again(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert compared(finished, tmp_path / "table", "none,ours:00:raw", *cache) == 0
    assert "training the encoder" in capsys.readouterr().out
    row = Front(finished).row("0")
    assert rows_of(tmp_path / "table")["ours:00:raw"]["metrics"]["f1_positive"] == pytest.approx(row.test_accuracy)


@pytest.mark.parametrize(
    ("methods", "more", "message"),
    [
        ("ours:99", [], "has no member 99: choose 0 to "),
        ("ours:kne", [], "unknown rule 'kne'"),
        ("ours:flops<=0.0001", [], "flops<=0.0001"),
        ("quantize+ours:knee", [], "ours cannot follow quantize"),
        ("distill:ours:knee", [], "unknown student 'ours:"),
        ("ours:knee", ["--seed", "3"], "--seed is 0 in "),
        ("ours:knee", ["--max-length", "8"], "--max-length is 16 in "),
        ("ours:knee", ["--stem", "cifar"], "--stem"),
    ],
)
def test_what_no_run_has_is_one_line_before_data_is_read(
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    methods: str,
    more: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("gaprune.text.compare.load_texts", lambda *_, **__: pytest.fail("data was read"))
    line = error_of(compared(finished, tmp_path / "table", methods, *more), capsys)
    assert message in line
    assert not (tmp_path / "table").exists()


def test_a_member_without_a_run_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "bert", "--data", str(place / "reviews.tsv"), "--encoder", str(place / "encoder")]
    line = error_of(compare_main([*words, "--methods", "ours:knee"]), capsys)
    assert "ours:knee is a member of a search's front: give --run RUN" in line


def test_another_encoder_or_other_texts_are_refused_before_anything_is_trained(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_stretch", lambda *_: pytest.fail("something was trained"))
    other = write_encoder(tmp_path / "other", seed=1)
    line = error_of(compared(finished, tmp_path / "table", "ours:knee", "--encoder", str(other)), capsys)
    assert f"{finished} searched another original (encoder: " in line
    texts = write_tsv(tmp_path / "reviews.tsv", 190)
    line = error_of(compared(finished, tmp_path / "table", "ours:knee", "--data", str(texts)), capsys)
    assert f"{finished} searched another original (texts: " in line
    assert not (tmp_path / "table").exists()


def test_an_original_of_other_weights_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = read_manifest(finished)["task"]["named"]
    slower = {name: value for name, value in named.items() if name != "original"}
    run = changed(finished, tmp_path / "run", **slower | {"options": named["options"] | {"epochs": 1}})
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["task"]["named"]["original"]  # as runs of an earlier version have it
    (run / "manifest.json").write_text(json.dumps(manifest))
    resealed(run)
    line = error_of(compared(run, tmp_path / "table", "ours:knee", "--cache-dir", str(tmp_path / "cache")), capsys)
    assert f"{run} searched an original of other weights" in line
    assert not (tmp_path / "table").exists()


def test_a_run_that_is_none_of_texts_or_not_finished_is_refused(
    place: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(finished, tmp_path / "run", options=None)
    line = error_of(compared(run, tmp_path / "table", "ours:knee"), capsys)
    assert f"{run} is no search of a text classifier" in line
    shutil.copytree(finished, tmp_path / "begun")
    (tmp_path / "begun" / "front.csv").unlink()
    resealed(tmp_path / "begun")
    line = error_of(compared(tmp_path / "begun", tmp_path / "table", "ours:knee"), capsys)
    assert "has no front yet: finish it with python -m gaprune.search --resume" in line
    line = error_of(compare_main(["--model", "vgg16", "--run", str(finished)]), capsys)
    assert f"{finished} searched a text classifier: its members are compared by python -m gaprune.compare --run" in line
    assert not (tmp_path / "table").exists()


def test_default_chains_have_members_where_there_is_a_run(finished: Path) -> None:
    front = Front(finished)
    assert default_methods(None) == USUAL
    more = default_methods(front)[len(USUAL) :]
    assert default_methods(front)[: len(USUAL)] == USUAL
    assert more[:2] == (f"ours:{front.spread(1)[0]}", f"ours:{front.spread(1)[0]}+quantize")
