"""Runs of earlier versions, kept as those versions wrote them, load and are gone on with."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from conftest import squares
from safetensors.torch import load_file
from tiny_factory import small_residual
from torch import nn

import gaprune
from gaprune.commands.lines import status_main
from gaprune.data import ImageData, from_arrays
from gaprune.progress import SILENT

OLD = sorted((Path(__file__).parent / "old").glob("*.tar.gz"))
"""By date and commit: members in ``front/00/``; the same with wall times; members by name, an index, a ladder."""


@pytest.fixture(params=OLD, ids=lambda file: file.name.removesuffix(".tar.gz"))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


@pytest.fixture
def network() -> nn.Module:
    made = small_residual(3)
    made.load_state_dict(load_file(OLD[0].with_name("original.safetensors")))
    return made.eval()


@pytest.fixture
def data() -> ImageData:
    return from_arrays("squares", squares(60, 0), squares(40, 1), classes=("red", "green", "blue"))


def test_there_is_one_of_each_form() -> None:
    assert len(OLD) == 3


def test_an_old_run_is_read_loaded_and_gone_on_with(run: Path, network: nn.Module, data: ImageData) -> None:
    record = gaprune.Run(run)
    assert record.rows
    picked = gaprune.pick(record.rows, "knee")  # type: ignore[operator]
    for row in record.rows:
        member = gaprune.load(run / row.path, model=network)
        assert sum(one.numel() for one in member.parameters()) == row.params
    assert status_main([str(run)]) == 0
    again = gaprune.search(network, data, resume=run, generations=3, reporter=SILENT)  # type: ignore[operator]
    assert {row.key for row in again.rows}
    assert picked.key
    assert status_main([str(run), "--check"]) == 0
