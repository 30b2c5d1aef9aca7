"""What files of a run declare is looked at before it is used: another form is one line, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damages import MODEL, Whole, commands, refusal
from resealing import resealed

import gaprune
from gaprune.commands.lines import export_main, finetune_main, search_main
from gaprune.options.resume import SETTLED
from gaprune.runs import Baseline, read_manifest

Copy = Callable[[], Path]
DEEP = "[" * 100_000
ODD: tuple[Any, ...] = (3, "x", [], [1], {}, {"a": 1}, None, True, -1, 1e300)


def test_an_original_of_which_a_manifest_says_nothing_is_not_known(copied: Copy, tmp_path: Path) -> None:
    run = copied()
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "original": {}}))
    resealed(run)
    assert Baseline.of({}) is None
    assert search_main(["--trust", "--resume", str(run), "--quiet"]) == 0


@pytest.mark.parametrize(
    "name", ["options", "objects", "model", "data", "original", "identity", "objectives", "unpruned"]
)
def test_a_manifest_that_says_something_of_another_kind_is_refused(copied: Copy, name: str) -> None:
    run = copied()
    manifest = json.loads((run / "manifest.json").read_text())
    for odd in (3, "x", True):
        (run / "manifest.json").write_text(json.dumps({**manifest, name: odd}))
        resealed(run)
        assert f"manifest.json is damaged: {name} must be " in str(refusal(lambda: read_manifest(run)))


def test_no_option_of_any_kind_of_value_is_a_traceback(copied: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a manifest that somebody wrote who knows the format; what happens to be right runs on, and is not tried."""
    run = copied()
    manifest = json.loads((run / "manifest.json").read_text())
    for name in sorted(set(manifest["options"]) - set(SETTLED)):
        options = {**manifest["options"], name: {"of": "another kind"}}
        (run / "manifest.json").write_text(json.dumps({**manifest, "options": options}))
        resealed(run)
        assert search_main(["--trust", "--resume", str(run)]) == 2, name
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["objectives", "finetuned", "search_accuracy", "test_accuracy", "key"])
def test_metrics_of_another_kind_are_refused(
    whole: Whole, copied: Copy, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    file = run / whole.files()["metrics.json"]
    metrics = json.loads(file.read_text())
    wrong = 3 if name != "search_accuracy" else {}
    file.write_text(json.dumps({**metrics, name: wrong if name != "test_accuracy" else []}))
    resealed(run)
    argv = [str(run), "--trust", "--pick", file.parent.name, "--epochs", "1", "--device", "cpu", "--quiet"]
    assert finetune_main(argv) == 2
    assert f"metrics.json is damaged: {name} must be " in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["manifest.json", "config.json", "genome.json", "metrics.json"])
def test_json_that_is_nested_too_deep_is_one_line(
    whole: Whole, copied: Copy, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    (run / whole.files()[kind]).write_text(DEEP)
    for file in run.rglob("checksums.json"):
        file.unlink()
    for name, command in commands(run, tmp_path).items():
        status, error = command(), capsys.readouterr().err
        assert status == 2 or (kind != "manifest.json" and name in ("status", "report", "search", "export", "compare"))
        assert "Traceback" not in error


def test_configurations_of_another_kind_are_refused(whole: Whole, copied: Copy) -> None:
    run = copied()
    file = run / whole.files()["config.json"]
    config = json.loads(file.read_text())
    for name in ("classes", "image_shape", "mean", "std", "convolution_groups", "grouped", "numbers", "stem", "model"):
        for odd in ODD:
            file.write_text(json.dumps({**config, name: odd}))
            resealed(run)
            line = refusal(lambda: gaprune.load(file.parent, model=MODEL))
            assert line is None or "\n" not in line, (name, odd)
    file.write_text(json.dumps({**config, "convolution_groups": {"stem.0": 0}}))
    resealed(run)
    assert "convolution_groups must be an object of whole numbers above 0" in str(
        refusal(lambda: gaprune.load(file.parent, model=MODEL))
    )
    assert export_main([str(file.parent), "--trust", "--quiet"]) == 2
