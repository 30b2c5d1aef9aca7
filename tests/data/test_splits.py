from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaprune.data import ImageData, ImageSet, Splits, from_arrays, split
from gaprune.errors import DataError, OptionError


def numbered(train: int = 60, test: int = 40, classes: int = 3) -> ImageData:
    """Images whose two first pixels are their own number, so that an image is known wherever it lands."""

    def part(count: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
        images = np.zeros((count, 1, 2, 2), dtype=np.uint8)
        images[:, 0, 0, 0] = np.arange(count)
        images[:, 0, 0, 1] = offset
        return images, np.arange(count) % classes

    return from_arrays("numbered", part(train, 0), part(test, 1))


def identities(images: ImageSet) -> set[tuple[int, int]]:
    return {(int(image[0, 0, 1]), int(image[0, 0, 0])) for image in images.images}


@settings(deadline=None)
@given(
    search_from=st.sampled_from(["train", "test"]),
    search_size=st.integers(1, 20),
    calibration_size=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_no_choice_reads_the_images_that_report(
    search_from: str, search_size: int, calibration_size: int, seed: int
) -> None:
    data = numbered()
    parts = split(data, search_from=search_from, search_size=search_size, calibration_size=calibration_size, seed=seed)
    test, search = identities(parts.test), identities(parts.search)
    train, calibration = identities(parts.train), identities(parts.calibration)
    assert not test & (search | train | calibration)
    assert not search & train
    assert calibration <= train
    assert (len(search), len(calibration)) == (search_size, calibration_size)
    assert test | search | train == identities(data.train) | identities(data.test)


@pytest.mark.parametrize(("search_from", "train", "test"), [("train", 48, 40), ("test", 60, 28)])
def test_the_search_set_is_held_out_of_the_part_asked_for(search_from: str, train: int, test: int) -> None:
    data = numbered()
    parts = split(data, search_from=search_from, search_size=12, calibration_size=9)
    assert (len(parts.train), len(parts.test)) == (train, test)
    assert torch.bincount(parts.search.labels).tolist() == [4, 4, 4]
    assert torch.bincount(parts.calibration.labels).tolist() == [3, 3, 3]


def test_images_keep_their_labels() -> None:
    parts = split(numbered(), search_size=12, calibration_size=9)
    for images in (parts.train, parts.search, parts.calibration, parts.test):
        assert torch.equal(images.images[:, 0, 0, 0].long() % 3, images.labels)


@pytest.mark.parametrize("search_from", ["train", "test"])
def test_a_calibration_set_of_all_training_images_is_a_fair_sample_of_the_classes_too(search_from: str) -> None:
    data = numbered()
    by_class = data.train.labels.argsort(stable=True)
    data = replace(data, train=data.train.select(by_class))
    size = 48 if search_from == "train" else 60
    parts = split(data, search_from=search_from, search_size=12, calibration_size=size)  # type: ignore[arg-type]
    assert len(parts.train) == size
    for start in range(0, size, 6):
        assert torch.bincount(parts.calibration.labels[start : start + 6]).tolist() == [2, 2, 2]


def test_a_seed_repeats_a_split_and_the_record_tells_splits_apart() -> None:
    data = numbered()

    def record(seed: int) -> Splits:
        return split(data, search_size=12, calibration_size=9, seed=seed)

    assert record(1).record == record(1).record
    assert torch.equal(record(1).search.images, record(1).search.images)
    assert record(1).record["search"] != record(2).record["search"]
    assert record(1).record["test"] == record(2).record["test"]


def test_the_record_is_json_and_gives_sizes_seed_and_origin() -> None:
    record = split(numbered(), search_from="test", search_size=12, calibration_size=9, seed=5).record
    assert json.loads(json.dumps(record)) == record
    assert (record["seed"], record["search_from"]) == (5, "test")
    described = {name: (record[name]["images"], record[name]["of"]) for name in ("train", "search", "test")}
    assert described == {"train": (60, "train"), "search": (12, "test"), "test": (28, "test")}
    assert len(record["calibration"]["indices_sha256"]) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"search_size": 31},
            r"search set of 31 images does not fit: choose 1 to 30 \(at most half of the 60",
        ),
        ({"search_size": 0}, "search set of 0 images does not fit: choose 1 to 30"),
        ({"search_size": 21, "search_from": "test"}, "choose 1 to 20 .at most half of the 40 test images"),
        ({"calibration_size": 51}, "calibration set of 51 images does not fit: choose 1 to 50"),
        ({"calibration_size": 0}, "calibration set of 0 images does not fit"),
        ({"seed": -1}, "must be 0 or more, got -1"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_largest_that_does(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split(numbered(), **({"search_size": 10, "calibration_size": 10} | options))  # type: ignore[arg-type]


def test_one_image_of_each_class_stays_to_train_on() -> None:
    images = np.zeros((5, 3, 2, 2), dtype=np.uint8)
    data = from_arrays("rare", (images, np.array([0, 0, 0, 1, 2])), (images, np.array([0, 0, 0, 1, 2])))
    parts = split(data, search_size=2, calibration_size=1)
    assert sorted(parts.train.labels.tolist()) == [0, 1, 2]


def test_a_data_set_of_single_images_is_refused() -> None:
    images = np.zeros((2, 3, 2, 2), dtype=np.uint8)
    data = from_arrays("single", (images, np.array([0, 1])), (images, np.array([0, 1])))
    with pytest.raises(DataError, match="too small for a search set"):
        split(data, search_size=1, calibration_size=1)


def test_an_unknown_origin_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown search_from 'both': choose one of train, test"):
        split(numbered(), search_from="both", search_size=1, calibration_size=1)  # type: ignore[arg-type]
