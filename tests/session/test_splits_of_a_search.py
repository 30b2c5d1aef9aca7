"""Where the search set comes from: unseen by the network, whatever its weights were trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from listener import Listener

from gaprune.data import ImageData
from gaprune.models import ShippedWeights
from gaprune.options import SearchOptions
from gaprune.session import images
from gaprune.training import Recipe
from gaprune.training.produce import train_baseline
from gaprune.training.subject import Subject

OPTIONS = SearchOptions.of(model="tiny_factory:small_residual", search_size=30, calibration_size=20)


@pytest.fixture
def shipped(square_data: ImageData, tmp_path: Path) -> ShippedWeights:
    """Trained on what the default split of ``OPTIONS`` leaves."""
    parts = images.split_images(OPTIONS, square_data, True, Listener())
    cpu = torch.device("cpu")
    subject = Subject(OPTIONS.model, "cifar", square_data, parts.train, parts.search, cpu)
    path = train_baseline(subject, Recipe(epochs=1, batch_size=30, pad=1), tmp_path / "shipped")
    return ShippedWeights(path, square_data.mean, square_data.std, False, 0.9, "of one split")


def source(
    options: SearchOptions, data: ImageData, shipped: ShippedWeights | None, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    monkeypatch.setattr(images, "shipped_weights", lambda *_: shipped)
    listener = Listener()
    return str(images.split_images(options, data, False, listener).record["search_from"]), listener.lines


def test_shipped_weights_of_this_split_are_searched_on_held_out_training_images(
    square_data: ImageData, shipped: ShippedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source(OPTIONS, square_data, shipped, monkeypatch) == ("train", [])
    assert source(OPTIONS, square_data, None, monkeypatch) == ("train", [])


@pytest.mark.parametrize("change", [{"seed": 1}, {"search_size": 31}])
def test_shipped_weights_of_another_split_are_searched_on_test_images(
    change: dict[str, int], square_data: ImageData, shipped: ShippedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS.but(**change)
    line = "the shipped weights were trained on another split or copy: searching on test images"
    assert source(options, square_data, shipped, monkeypatch) == ("test", [line])
    asked = options.but(search_from="train")
    assert source(asked, square_data, shipped, monkeypatch) == ("train", [])
    own = options.but(checkpoint=shipped.path)
    assert source(own, square_data, shipped, monkeypatch) == ("train", [])


def test_shipped_weights_that_saw_everything_are_searched_on_test_images(
    square_data: ImageData, shipped: ShippedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dataclasses.replace(shipped, saw_all_training_images=True)
    line = "the shipped weights have seen all training images: searching on test images"
    assert source(OPTIONS, square_data, seen, monkeypatch) == ("test", [line])


@pytest.mark.parametrize("settled", ["train", "test"])
def test_a_resumed_run_searches_where_it_did_whatever_is_shipped_by_now(
    settled: str, square_data: ImageData, shipped: ShippedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "shipped_weights", lambda *_: shipped)
    listener = Listener()
    parts = images.split_images(OPTIONS.but(seed=1), square_data, False, listener, settled)
    assert (parts.record["search_from"], listener.lines) == (settled, [])
