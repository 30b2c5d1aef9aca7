from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from resealing import resealed
from tiny_texts import write_encoder, write_tsv

from gaprune.commands.lines import compare_main
from gaprune.compress import rows as comparison_rows
from gaprune.text import training
from gaprune.text.rows import ROWS

QUICK = (
    "--epochs",
    "1",
    "--student-epochs",
    "2",
    "--batch-size",
    "16",
    "--lr",
    "5e-3",
    "--threads",
    "1",
    "--batch",
    "4",
)


def _interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _words(encoder: Path, tmp_path: Path, *more: str) -> list[str]:
    data = tmp_path / "reviews.tsv"
    if not data.exists():
        write_tsv(data)
    return ["--model", "bert", "--encoder", str(encoder), "--data", str(data), *QUICK, *more]


def test_the_command_makes_a_table_beside_the_papers_and_goes_on(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    words = _words(encoder_folder, tmp_path, "--output", str(output), "--methods", "none,distill,tucker:size=0.2")
    real, calls = comparison_rows.Comparison.row, []

    def interrupted(self: comparison_rows.Comparison, chain: object) -> comparison_rows.Row:
        calls.append(chain)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, chain)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(comparison_rows.Comparison, "row", interrupted)
        assert compare_main(words) == 130
    again = f"python -m gaprune.compare --resume {output}"
    assert f"go on with: {again}" in capsys.readouterr().err
    assert compare_main(again.split()[3:]) == 0
    said = capsys.readouterr().out
    table = (output / "paper.md").read_text()
    assert table.strip() in said
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:12]] == [row.name for row in ROWS]
    assert said.count("training the encoder: 0 of 10") == 1, "that of Tucker; the original is trained already"
    record = json.loads((output / "table.json").read_text())
    assert [row["chain"] for row in record["rows"]] == ["none", "distill", "tucker:size=0.2"]
    assert record["encoder"].startswith("bert (weights ")
    assert record["encoder"] in table
    assert (record["batch"], record["threads"], record["identity"]["settings"]["encoder"]["epochs"]) == (4, 1, 1)
    assert {"f1_positive", "precision_low", "recall_high"} <= set(record["rows"][0]["metrics"])
    assert compare_main([*again.split()[3:], "--methods", "tucker:size=0.2:raw"]) == 0
    added = (output / "paper.md").read_text().splitlines()
    before, after = ([_untimed(line) for line in lines[: 3 + len(ROWS)]] for lines in (table.splitlines(), added))
    assert before == after
    assert "`tucker:size=0.2:raw`" in added[3 + len(ROWS)]
    chains = [row["chain"] for row in _json(output / "table.json")["rows"]]
    assert chains == ["none", "distill", "tucker:size=0.2", "tucker:size=0.2:raw"]
    assert "| accuracy % | macro F1 % |" in (output / "table.md").read_text()
    assert compare_main([f"--resume={output}"]) == 0, "the folder knows its model"


def _untimed(line: str) -> list[str]:
    """The cells of a line but for our seconds, which are taken anew when a row joins."""
    cells = line.split("|")
    return [*cells[:-3], *cells[-2:]]


def test_another_encoder_is_refused_on_resume_and_not_written_down(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, other = tmp_path / "out", write_encoder(tmp_path / "other", seed=1)
    resume = ["--model", "bert", "--resume", str(output)]
    with monkeypatch.context() as patch:
        patch.setattr(training, "_stretch", _interrupted)
        assert compare_main(_words(encoder_folder, tmp_path, "--output", str(output), "--methods", "none")) == 130
    before = (output / "manifest.json").read_text()
    for _ in ("in the fine-tuning", "finished"):
        capsys.readouterr()
        assert compare_main([*resume, "--encoder", str(other)]) == 2
        assert f"{output} was made with other weights, data or device: encoder: " in capsys.readouterr().err
        assert (output / "manifest.json").read_text() == before
        assert compare_main(resume) == 0
    identity = _json(output / "table.json")["identity"]
    assert identity == _json(output / "manifest.json")["identity"], "also of weights before they are trained"


def test_a_resumed_comparison_keeps_its_threads_and_its_device(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, file = tmp_path / "out", tmp_path / "out" / "manifest.json"
    words = _words(encoder_folder, tmp_path, "--output", str(output), "--methods", "none")
    words[words.index("--threads") : words.index("--threads") + 2] = []
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 1)
        patch.setattr(training, "_stretch", _interrupted)
        assert compare_main(words) == 130
    resume = ["--model", "bert", "--resume", str(output)]
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 2)
        assert compare_main(resume) == 0
    assert _json(output / "table.json")["threads"] == 1
    capsys.readouterr()
    assert compare_main([*resume, "--threads", "2"]) == 2
    assert "cannot change on resume: threads: 1 -> 2" in capsys.readouterr().err
    manifest = _json(file)
    file.write_text(json.dumps(manifest | {"identity": manifest["identity"] | {"device": "cuda"}}))
    resealed(output)
    assert compare_main(resume) == 2
    assert "was made with other weights, data or device: device: cuda -> cpu" in capsys.readouterr().err
    elsewhere = {"hardware": {**manifest["identity"]["hardware"], "cpu": "another"}}
    file.write_text(json.dumps(manifest | {"identity": manifest["identity"] | elsewhere}))
    resealed(output)
    assert compare_main(resume) == 2
    assert "was made with other weights, data or device: hardware" in capsys.readouterr().err
    plain = {name: value for name, value in manifest["identity"].items() if name not in ("device", "threads")}
    file.write_text(json.dumps(manifest | {"identity": plain}))
    resealed(output)
    assert compare_main(resume) == 0, "begun by a version that wrote neither down"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--epochs", "0"), "--epochs must be at least 1, got 0"),
        (("--lr", "0"), "--lr must be above 0, got 0"),
        (("--methods", "tuker"), "unknown method 'tuker': choose one of none, quantize, tucker"),
        (("--methods", "quantize+tucker"), "tucker cannot follow quantize"),
        (("--methods", "none,distill:gru"), "unknown student 'gru': choose one of bilstm, bilstm-augmented"),
        (("--encoder", "./nowhere"), "--encoder ./nowhere: no such folder"),
        (("--data", "imdb"), "unknown data 'imdb': choose one of sst2, sms-spam, or a .tsv or .csv file"),
        (("--model", "bert", "--stem", "cifar"), "unknown option '--stem'"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert compare_main(_words(encoder_folder, tmp_path, "--output", str(tmp_path / "out"), *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["transformers", "accelerate"])
def test_a_missing_library_is_one_line_that_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert compare_main(["--model", "bert"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {library} is needed and cannot be imported" in line
    assert line.endswith('pip install "gaprune[text]"')
