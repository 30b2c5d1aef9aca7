"""A path names one network for ever: a longer search keeps it, or a script that holds it is told."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import killing
import pytest
import torch
from killing import GENERATIONS, left_by
from resealing import unsealed

import gaprune
from gaprune.errors import CheckpointError
from gaprune.progress import SILENT
from gaprune.runs import FrontRow, member_name, read_csv, write_csv


def rows_of(path: Path) -> list[FrontRow]:
    return read_csv(path / "front.csv")


def longer(path: Path) -> None:
    output = path.with_name("output")
    assert killing.search(["--trust", "--resume", str(path), "--generations", str(GENERATIONS)], output) == 0, (
        output.read_text()
    )


def state(path: Path) -> dict[str, torch.Tensor]:
    return dict(gaprune.load(path, trust=True).state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(autouse=True)
def _factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def test_after_a_longer_search_a_members_path_is_the_same_network_or_a_clear_error(old: Path) -> None:
    before = {row.path: state(old / row.path) for row in rows_of(old)}
    assert all(row.path == f"front/{member_name(row.key)}" for row in rows_of(old))
    longer(old)
    now = {row.path for row in rows_of(old)}
    for path, weights in {**before, "front/00000000": None}.items():  # whether one leaves hangs on last digits
        if weights is not None and path in now:
            assert same(state(old / path), weights)
        else:
            with pytest.raises(CheckpointError, match=rf"{path} holds no compact network: no such member is on the"):
                gaprune.load(old / path, trust=True)


def test_an_index_loads_the_member_that_it_names_and_says_which(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    for row in rows_of(whole):
        index = whole / "front" / f"{row.index:02d}"
        assert index.read_text() == f"{row.name}\n"
        with caplog.at_level(logging.WARNING):
            assert same(state(index), state(whole / row.path))
        assert f"front/{row.index:02d} is member {row.name} now" in caplog.text


def test_an_index_that_is_no_longer_there_names_what_is(whole: Path) -> None:
    with pytest.raises(CheckpointError, match=r"front/99 holds no compact network: no such member .* its \d+ are "):
        gaprune.load(whole / "front" / "99")
    with pytest.raises(CheckpointError, match=r"nowhere holds no compact network: there is no such directory"):
        gaprune.load(whole / "nowhere")


def as_earlier_versions_had_it(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Let a run's members lie in ``front/00``, ``front/01`` ..., without checksums; by path their weights."""
    rows = []
    for row in rows_of(path):
        place = path / "front" / f"{row.index:02d}"
        place.unlink()
        (path / row.path).rename(place)
        rows.append(replace(row, path=f"front/{row.index:02d}"))
    write_csv(rows, path / "front.csv")
    unsealed(path)
    return {row.path: state(path / row.path) for row in rows}


def test_a_run_of_an_earlier_version_loads_and_goes_on(old: Path, whole: Path) -> None:
    before = as_earlier_versions_had_it(old)
    assert [row.name for row in rows_of(old)] == [Path(path).name for path in before]
    longer(old)
    assert left_by(old) == left_by(whole)
    assert set(json.loads((old / "manifest.json").read_text())) == set(
        json.loads((whole / "manifest.json").read_text())
    )


def test_training_goes_over_into_the_new_names_of_an_earlier_versions_run(old: Path, tmp_path: Path) -> None:
    as_earlier_versions_had_it(old)
    copy = shutil.copytree(old, tmp_path / "copy")
    tuned = gaprune.finetune(copy, pick="all", epochs=2, trust=True, reporter=SILENT)  # type: ignore[operator]
    trained = {row.key for row in tuned.rows if row.trained_epochs}
    assert trained, "no member is better for its training: this shows nothing"
    longer(copy)
    rows = rows_of(copy)
    assert {row.key for row in rows if row.trained_epochs} == trained & {row.key for row in rows}
    for row in rows:
        assert row.home == f"front/{member_name(row.key)}"
        assert same(state(copy / "front" / f"{row.index:02d}"), state(copy / row.home))
        if row.trained_epochs:
            assert same(state(copy / "front" / f"{row.index:02d}" / "finetuned"), state(copy / row.path))
