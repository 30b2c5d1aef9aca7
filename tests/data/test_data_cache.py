from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from gaprune.data.cache import default_cache_dir, fetch, store

TENSORS = {"images": torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), "labels": torch.tensor([1, 0])}
META = {"fingerprint": "abc", "skipped": ["a.png (broken)"]}


def test_what_is_stored_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "images.safetensors"
    store(path, TENSORS, META)
    found = fetch(path)
    assert found is not None
    assert found[1] == META
    assert {name: tensor.tolist() for name, tensor in found[0].items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert [entry.name for entry in path.parent.iterdir()] == ["images.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_file_counts_as_absent_and_is_logged(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "images.safetensors"
    store(path, TENSORS, META)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-5],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "foreign": b"not a cache at all",
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        assert fetch(path) is None
    assert "are damaged and are made again" in caplog.text


def test_no_file_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert fetch(tmp_path / "none.safetensors") is None
    assert caplog.text == ""


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAPRUNE_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("GAPRUNE_CACHE")
    assert default_cache_dir().name == "gaprune"
