"""A row of a comparison goes out as a file, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gaprune.compress import ImageTask, parse_chain, saved_rows
from gaprune.compress.rows import Comparison
from gaprune.errors import OptionError, RunError
from gaprune.options import TrustOptions
from gaprune.progress import SILENT
from gaprune.runs import write_json
from gaprune.session import Own
from gaprune.shipping import check, make_file, subject_of

CHAINS = ("none", "tucker:size=0.5:raw")


@pytest.fixture
def comparison(task: ImageTask, tmp_path: Path) -> Path:
    pytest.importorskip("tensorly")
    folder = tmp_path / "comparison"
    folder.mkdir()
    options = {"model": "tiny_factory:small_residual", "stem": "cifar", "seed": 0}
    write_json(
        folder / "manifest.json", {"kind": "comparison", "options": options, "identity": {"weights_sha256": "a"}}
    )
    made = Comparison(folder, task.work(), 1, SILENT)
    for chain in CHAINS:
        made.row(parse_chain(chain))
    return folder


def test_a_row_is_exported_as_the_network_that_the_table_measured(comparison: Path, task: ImageTask) -> None:
    chain = CHAINS[1]
    subject = subject_of(comparison, "knee", chain, picked=False, own=Own(), code=TrustOptions(trust=True))
    assert subject.name == "tiny_factory-small_residual-tucker-size=0.5-raw"
    assert subject.mean == task.data.mean
    assert subject.origin["pruned_from"]["weights_sha256"] == "a"
    file = make_file(subject, "pt2", task.splits.test.images[:2], preprocessing=True)
    found = check(file, subject, task.splits.test, 1)
    assert found.images == len(task.splits.test)
    assert found.accuracy == pytest.approx(saved_rows(comparison)[chain].metrics["accuracy"])
    assert torch.isfinite(torch.tensor(found.difference))


def test_a_row_of_a_network_that_was_an_object_is_exported_with_it(task: ImageTask, tmp_path: Path) -> None:
    network = task.original.model
    write_json(
        tmp_path / "manifest.json",
        {"kind": "comparison", "options": {"model": "auto"}, "objects": {"model": True, "objectives": []}},
    )
    made = Comparison(tmp_path, replace(task, model_name="Residual", own=network).work(), 1, SILENT)
    made.row(parse_chain("none"))
    with pytest.raises(OptionError, match="was given its model as objects: "):
        subject_of(tmp_path, "knee", "none", picked=False, own=Own())
    subject = subject_of(tmp_path, "knee", "none", picked=False, own=Own(model=network))
    images = task.splits.test.images[:2].float()
    torch.testing.assert_close(subject.network(images), network.eval()(images), rtol=1e-3, atol=1e-3)


def test_rows_are_named(comparison: Path) -> None:
    with pytest.raises(OptionError, match=r"no row is 'tucker': .* has none, tucker:size=0.5:raw"):
        subject_of(comparison, "knee", "tucker", picked=False, own=Own())
    with pytest.raises(OptionError, match=r"give --row CHAIN: .* has none, tucker:size=0.5:raw"):
        subject_of(comparison, "knee", None, picked=False, own=Own())
    with pytest.raises(OptionError, match="is a comparison, whose rows are chains: give --row CHAIN instead of --pick"):
        subject_of(comparison, "3", "none", picked=True, own=Own())


def test_texts_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"kind": "comparison", "options": {"model": "bert"}})
    with pytest.raises(RunError, match="compares classifiers of texts: export a member of its run instead"):
        subject_of(tmp_path, "knee", "none", picked=False, own=Own())
