"""Unfinished, damaged and foreign runs: what there is is shown, and what there is not is said."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gaprune.errors import RunError
from gaprune.views.methods import read_methods
from gaprune.views.page import read_all, report_page
from gaprune.views.record import read_record
from gaprune.views.status import status_lines


def unfinished(run: Path) -> None:
    """As a search leaves it that is killed before its front."""
    for name in ("front.csv", "ladder.csv", "report.html", "front.png"):
        (run / name).unlink()
    shutil.rmtree(run / "front")
    manifest = json.loads((run / "manifest.json").read_text())
    for name in ("evaluations", "picked", "satisfied", "generations_done"):
        manifest.pop(name, None)
    (run / "manifest.json").write_text(json.dumps(manifest))


def torn(run: Path) -> None:
    with (run / "evaluations.jsonl").open("a") as log:
        log.write('{"key": "00')


def scribbled(run: Path) -> None:
    lines = (run / "evaluations.jsonl").read_text().splitlines()
    lines[1] = "not JSON"
    lines[2] = json.dumps({"key": "0" * 32, "generation": 0, "values": None, "failure": None})
    (run / "evaluations.jsonl").write_text("\n".join(lines) + "\n")


def rewritten(name: str, content: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        (run / name).write_text(content)

    return change


def gone(name: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        (run / name).unlink()

    return remove


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (unfinished, "there is no front.csv: members with test accuracy and widths are not shown"),
        (torn, ""),
        (scribbled, "2 lines are not as written and left out: evaluations.jsonl, the first is line 2"),
        (rewritten("manifest.json", "{"), "manifest.json is not whole ("),
        (rewritten("manifest.json", '{"options": 3, "original": [], "data": null}'), ""),
        (gone("manifest.json"), "there is no manifest.json: settings, original and identity are not shown"),
        (rewritten("front.csv", "a,b\n1,2\n"), "front.csv is not whole ("),
        (rewritten("ladder.csv", "a,b\n1,2\n"), "ladder.csv is not whole ("),
        (gone("ladder.csv"), ""),
        (gone("evaluations.jsonl"), "there is no evaluation in evaluations.jsonl"),
    ],
)
def test_what_can_be_shown_is_and_the_rest_is_said(spoil: Callable[[Path], None], note: str, copied: Path) -> None:
    spoil(copied)
    record = read_record(copied)
    text = report_page([record])
    assert ("What is not shown" in text) == bool(note)
    assert any(note in one for one in record.notes) or not note
    assert "figure-front" in text
    assert status_lines(copied)[0].startswith(f"{copied}: ")


def test_a_run_without_a_front_shows_what_stands_so_far(copied: Path) -> None:
    unfinished(copied)
    record = read_record(copied)
    text = report_page([record])
    assert "front so far, search images" in text
    assert "the search has not come to its end" in text
    assert "Widths are known of members of a finished front alone." in text
    assert any(line.startswith("nobody is at it; go on with --resume ") for line in status_lines(copied))


@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_copy_without_weights_shows_all_but_how_to_use_them(all_of_them: bool, copied: Path) -> None:
    """Neither missing weights nor missing states are damage: the numbers are as they were written."""
    whole = report_page([read_record(copied)])
    assert "gaprune.load(" in whole
    assert "Go on with it" in whole
    for row in read_record(copied).rows:
        if all_of_them or row.name == read_record(copied).picked.name:  # type: ignore[union-attr]
            (copied / row.path / "model.safetensors").unlink()
    shutil.rmtree(copied / "state")
    record = read_record(copied)
    text = report_page([record])
    assert "What is not shown" in text
    assert not record.damage
    (note,) = record.notes
    assert note.startswith("the weights of the members are" if all_of_them else "the weights of 1 of ")
    assert "Repeat the search" in text
    assert all(words not in text for words in ("gaprune.load(", "gaprune.export(", "Go on with it"))
    assert "figure-widths" in text
    assert [row.name for row in record.rows if row.name in text] == [row.name for row in record.rows]
    _, state, generation, *_ = status_lines(copied)
    assert (state, generation.partition(",")[0]) == ("finished", "generation 3 of 3")


def test_rounds_and_iterations_are_read_with_their_parts(copied: Path, tmp_path: Path) -> None:
    part = tmp_path / "whole" / "iteration-1"
    shutil.copytree(copied, part)
    for name in ("manifest.json", "front.csv"):
        shutil.copy(copied / name, part.parent / name)
    record = read_record(part.parent)
    assert {one.part for one in record.evaluated} == {"iteration-1"}
    assert "iteration-1 generation 0" in report_page([record])
    assert any(line.startswith("iteration 1, generation 3 of 3") for line in status_lines(part.parent))


def test_a_comparison_adds_its_methods_and_alone_is_no_run(copied: Path, tmp_path: Path) -> None:
    folder = tmp_path / "comparison"
    folder.mkdir()
    rows = [
        {"chain": "none", "metrics": {"accuracy": 0.9}, "flops": 100, "params": 50, "size_mb": 2.0},
        {"chain": "tucker:size=0.2", "metrics": {"accuracy": 0.8}, "flops": 25, "params": 10, "size_mb": 0.5},
        {"chain": "quantize", "metrics": {"accuracy": 0.85}, "flops": None, "params": 50, "size_mb": 0.5},
        {"chain": "broken"},
    ]
    (folder / "table.json").write_text(json.dumps({"rows": rows}))
    text = report_page(*read_all([copied, folder]))
    assert "other methods (comparison)" in text
    assert '<th scope="row">tucker:size=0.2</th><td>80.00</td><td>25.00</td><td>20.00</td><td>25.00</td>' in text
    assert '<th scope="row">quantize</th><td>85.00</td><td>-</td>' in text
    assert "has a row without a name or an accuracy, which is left out" in text
    with pytest.raises(RunError, match="is a comparison: give the run, too"):
        read_all([folder])
    (folder / "table.json").write_text("[]")
    with pytest.raises(RunError, match=r"table.json cannot be read: expected a JSON object"):
        read_all([copied, folder])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_bytes_are_lost_nothing_raises_but_one_line(seed: int, copied: Path) -> None:
    draw = random.Random(seed)
    for name in ("manifest.json", "evaluations.jsonl", "front.csv", "ladder.csv"):
        content = bytearray((copied / name).read_bytes())
        for _ in range(draw.randrange(4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randrange(1, 60)] = draw.choice(
                [b"", b"null", b"[]", b"1e999", b"\xff", b"-1"]
            )
        (copied / name).write_bytes(content)
    try:
        report_page([read_record(copied)])
        status_lines(copied)
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017 - whether it raises is the bytes' business


def test_a_method_of_which_nothing_but_its_accuracy_is_known_is_shown_with_that(tmp_path: Path) -> None:
    rows = [{"chain": "quantize", "metrics": {"accuracy": 0.5}}, {"chain": "none", "flops": 10**400}]
    (tmp_path / "table.json").write_text(json.dumps({"rows": rows}))
    (found,) = read_methods(tmp_path).methods
    assert (found.name, found.accuracy, found.shares) == ("quantize", 0.5, {})
