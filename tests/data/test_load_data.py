from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gaprune.data import load_data
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError, OptionError

if TYPE_CHECKING:
    from conftest import FolderMaker, Recorder, TinyCifar10


def test_auto_falls_back_to_the_digits_and_says_why_in_one_line(
    offline: None, tmp_path: Path, recorder: Recorder
) -> None:
    data = load_data(cache_dir=tmp_path / "cache", reporter=recorder)
    assert data.name == "digits"
    (line,) = recorder.lines
    assert line.startswith("using the built-in digits: CIFAR-10 is not cached in ")
    assert line.endswith("Connection refused")
    assert "chosen because CIFAR-10 is not cached" in data.source
    assert "Connection refused" in data.source


def test_auto_takes_cifar10_where_it_can(tiny_cifar10: TinyCifar10, tmp_path: Path, recorder: Recorder) -> None:
    assert load_data(cache_dir=tmp_path / "cache", reporter=recorder).name == "cifar10"
    assert recorder.lines == []


def test_cifar10_insists(offline: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded: Connection refused; --data-dir takes a copy"):
        load_data("cifar10", cache_dir=tmp_path / "cache")


def test_digits_need_neither_network_nor_cache(offline: None, tmp_path: Path, recorder: Recorder) -> None:
    assert load_data("digits", cache_dir=tmp_path / "cache", reporter=recorder).name == "digits"
    assert recorder.lines == []
    assert not (tmp_path / "cache").exists()


def test_the_cache_folder_is_the_default_one(
    tiny_cifar10: TinyCifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPRUNE_CACHE", str(tmp_path / "elsewhere"))
    load_data("cifar10")
    assert (tmp_path / "elsewhere" / "cifar10" / "cifar-10-batches-py").is_dir()


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_a_torchvision_root_is_recognised(name: str, tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    root = tiny_cifar10.unpack(tmp_path / "root")
    data = load_data(name, data_dir=root, cache_dir=tmp_path / "cache")
    assert (data.name, len(data.train)) == ("cifar10", 20)


def test_a_damaged_root_that_was_asked_for_is_an_error(tiny_cifar10: TinyCifar10, tmp_path: Path) -> None:
    root = tiny_cifar10.unpack(tmp_path / "root")
    (root / "cifar-10-batches-py" / "batches.meta").unlink()
    with pytest.raises(DataError, match="incomplete or damaged"):
        load_data(data_dir=root, cache_dir=tmp_path / "cache")


def test_auto_takes_any_image_folder(make_folder: FolderMaker, tmp_path: Path) -> None:
    data = load_data(data_dir=make_folder(counts={"train": 8}), test_share=0.5, cache_dir=tmp_path / "cache")
    assert (data.name, len(data.test)) == ("pets", 8)


def test_cifar10_takes_an_image_folder_only_if_it_is_cifar10(make_folder: FolderMaker, tmp_path: Path) -> None:
    counts = {"train": 1, "test": 1}
    copy = make_folder(CIFAR10_CLASSES, counts, (32, 32), "copy")
    assert load_data("cifar10", data_dir=copy, cache_dir=tmp_path / "cache").name == "cifar10"
    with pytest.raises(DataError, match=r"pets is not CIFAR-10: it has 2 classes of \(3, 5, 6\) images"):
        load_data("cifar10", data_dir=make_folder(), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_a_folder_that_is_called_like_known_data_is_not_taken_for_them(
    name: str, make_folder: FolderMaker, tmp_path: Path
) -> None:
    root = make_folder(("cat", "dog"), {"train": 2, "test": 1}, (16, 16), name)
    assert load_data(data_dir=root, cache_dir=tmp_path / "cache").name == f"{name}-folder"
    with pytest.raises(DataError, match="is not CIFAR-10: it has 2 classes"):
        load_data("cifar10", data_dir=root, cache_dir=tmp_path / "cache")


def test_a_missing_folder_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_data(data_dir=tmp_path / "none", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "mnist"}, "unknown data 'mnist': choose one of auto, cifar10, digits"),
        ({"test_share": 0.0}, "test_share must be above 0 and below 1, got 0.0"),
        ({"test_share": 1.0}, "test_share must be above 0 and below 1, got 1.0"),
        ({"data": "digits", "data_dir": Path("x")}, "'digits' is built in and takes no data_dir"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_data(**options)  # type: ignore[arg-type]
