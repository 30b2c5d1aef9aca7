from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import pytest
from forked import run_script
from scripts import load_script
from tiny_texts import write_encoder, write_tsv

from gaprune.compress.resuming import resumed_options
from gaprune.compress.rows import Row
from gaprune.errors import OptionError, RunError
from gaprune.options import record
from gaprune.runs import RunDirectory
from gaprune.text import compare as text_compare
from gaprune.text.rows import ROWS, USUAL
from gaprune.text.table import Figures

SCRIPT = Path(__file__).parents[2] / "experiments" / "text_compression.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_the_goals_figures_are_made_of_the_rows(script: ModuleType) -> None:
    table = {row.chain: Figures(row.size, row.f1, row.f1 - 0.01, row.f1 + 0.01, None, 1.0, "PyTorch") for row in ROWS}
    order, apart = script._names("sms-spam")
    figures = script._figures("sms-spam", [table, table])
    assert figures[order] == figures[apart] == 0
    assert figures[script.LOST] == pytest.approx(0.966 - 0.951)
    worse = table | {"quantize": Figures(500.0, 0.9, 0.89, 0.91, None, 1.0, "ONNX Runtime")}
    figures = script._figures("sms-spam", [table, worse])
    assert (figures[order], figures[apart]) == (1, 1)
    assert {goal.name for goal in script.GOALS} > set(figures)


def test_a_goal_is_not_measured_by_rows_that_are_not_there(script: ModuleType) -> None:
    table = {row.chain: Figures(row.size, row.f1, row.f1 - 0.01, row.f1 + 0.01, None, 1.0, "PyTorch") for row in ROWS}
    order, apart = script._names("sms-spam")
    without = {chain: figures for chain, figures in table.items() if chain != "quantize"}
    assert set(script._figures("sms-spam", [table, without])) == {script.LOST}
    without = {chain: figures for chain, figures in table.items() if chain != "distill"}
    assert set(script._figures("sms-spam", [without, table])) == {apart}
    assert order not in script._figures("sst2", [{chain: table[chain] for chain in script.QUICK}])
    assert list(script._by_chain([table | {"onnx": table["none"]}, table])) == list(table)


def _options(tmp_path: Path, **more: object) -> argparse.Namespace:
    parts = {"data": "sms-spam", "data_dir": Path("texts"), "encoder": "small", "threads": 1, "quick": False}
    return argparse.Namespace(**parts | {"work": tmp_path} | more)


def test_a_row_that_failed_is_told_with_its_seed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"f1_positive": 0.9, "f1_positive_low": 0.8, "f1_positive_high": 1.0}
    rows = [Row(chain, 1.0, figures, 1, None, "PyTorch", 0) for chain in USUAL if chain != "distill"]
    folder = tmp_path / "text-sms-spam-seed1"
    folder.mkdir()
    (folder / "table.json").write_text(json.dumps({"batch": 128, "failures": {"distill": "training diverged"}}))
    monkeypatch.setattr(script, "compare", lambda *_: rows)
    with pytest.raises(RunError, match=r"^seed 1 has no row of distill \(training diverged\): see "):
        script._comparison(_options(tmp_path), 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": "b/sms-spam.csv"}, "cannot change on resume: data: sms-spam -> b/sms-spam.csv"),
        ({"threads": 2}, "cannot change on resume: threads: 1 -> 2"),
        ({}, None),
    ],
)
def test_a_seed_that_was_begun_otherwise_is_not_gone_on_with(
    script: ModuleType, tmp_path: Path, more: dict[str, object], message: str | None
) -> None:
    """The manifest is like those that versions wrote whose identity had neither device nor threads."""
    begun = script._asked(_options(tmp_path), tmp_path / "seed0", 0)
    manifest = {"kind": "comparison", "options": record(begun), "identity": {}}
    with RunDirectory.create(tmp_path / "seed0", manifest) as directory:
        asked = script._asked(_options(tmp_path, **more), tmp_path / "seed0", 0)
        assert asked.resume == tmp_path / "seed0"
        if message is None:
            resumed = resumed_options(asked, directory, text_compare._MAY_CHANGE, lambda *_: ())
            assert (resumed.encoder, resumed.data_dir) == ("small", Path("texts"))
            return
        with pytest.raises(OptionError, match=message):
            resumed_options(asked, directory, text_compare._MAY_CHANGE, lambda *_: ())


def test_means_over_seeds_keep_what_is_no_number(script: ModuleType) -> None:
    seeds = [Figures(1.0, f1, 0.8, 1.0, gpu, None, "ONNX Runtime") for f1, gpu in ((0.9, 0.1), (0.8, None))]
    assert script._mean(seeds) == Figures(1.0, pytest.approx(0.85), 0.8, 1.0, 0.1, None, "ONNX Runtime")


def test_differences_from_the_paper_are_read_off_the_comparison(script: ModuleType) -> None:
    layers = [{"ranks": [3, 3]}, {"ranks": [17, 17]}, {"ranks": None}]
    tucker = {"chain": script.TUCKER, "size_mb": 20.0, "steps": [{"report": {"layers": layers}}]}
    record = {
        "data": ["data: sms-spam: SMSSpamCollection, 5,574 texts", "positive class: spam"],
        "encoder": "small (weights 0123)",
        "batch": 64,
        "threads": 2,
        "identity": {"settings": {"encoder": {"batch_size": 32}, "student": {"batch_size": 50}}},
        "environment": {"cpu": "a processor", "cuda_devices": []},
        "rows": [{"chain": "none", "size_mb": 90.7}, tucker],
    }
    text = script.differences(record)
    assert "ours is sms-spam: SMSSpamCollection, 5,574 texts" in text
    assert "ours is small (weights 0123), 90.7 MB; the paper's is bert-base-multilingual-cased, 711 MB" in text
    assert "times are of 64 texts" in text
    assert "ours is a processor, CPU threads: 2, GPU: none" in text
    assert "factors 2 of 3 layers at ranks 3 to 17" in text
    assert "385 MB for Tucker are those of rank 20" in text


@pytest.mark.slow
def test_the_experiment_runs(tmp_path: Path, script: ModuleType) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    words = ["--data", str(write_tsv(tmp_path / "reviews.tsv")), "--encoder", str(encoder), "--threads", "1"]
    words += ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "results"), "--quick"]
    made = run_script(SCRIPT, *words)
    assert made.returncode == 0, made.stderr
    (file,) = (tmp_path / "results").glob("text_compression-reviews-*-quick.json")
    result = json.loads(file.read_text())
    assert file.with_suffix(".md").read_text().strip() in made.stdout
    assert "Differences from the paper. Data: ours is reviews: " in made.stdout
    assert result["made"][0]["threads"] == 1
    assert result["made"][0]["identity"]["settings"]["encoder"]["epochs"] == 1
    assert result["encoder"].startswith("bert (weights ")
    rows = result["rows"]
    assert set(rows) == set(script.QUICK)
    assert all(row["size"] > 0 and len(row["by seed"]) == 1 for row in rows.values())
    words[words.index(str(encoder))] = str(write_encoder(tmp_path / "other", seed=1))
    other = run_script(SCRIPT, *words)
    assert other.returncode == 2
    assert "was made with other weights, data or device: encoder: " in other.stderr


def test_sizes_computed_from_shapes_are_those_of_files(script: ModuleType) -> None:
    rows = script._shape(True)["rows"]
    assert list(rows) == list(script.PAPER_MB)
    for row in rows.values():
        assert row["saved"] == pytest.approx(row["computed"], rel=0.05)
    assert rows["none"]["saved"] > rows["quantize:linear"]["saved"] > rows["quantize"]["saved"]
