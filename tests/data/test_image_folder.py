from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from gaprune.data import decode
from gaprune.data.folder import load_folder
from gaprune.data.images import ImageData
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

if TYPE_CHECKING:
    from conftest import FolderMaker, Recorder


def load(root: Path, reporter: Reporter = SILENT, **options: Any) -> ImageData:
    return load_folder(root, cache_dir=root.parent / "cache", reporter=reporter, **options)


def colours(images: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(image[:, 0, 0].tolist()) for image in images}


def test_parts_classes_and_pixels_are_the_folders(make_folder: FolderMaker) -> None:
    data = load(make_folder(("dog", "cat")))
    assert data.classes == ("cat", "dog")
    assert data.name == "pets"
    assert data.image_shape == (3, 5, 6)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert colours(data.train.images[data.train.labels == 0]) == {(10, n, 100) for n in range(4)}
    assert colours(data.test.images[data.test.labels == 1]) == {(0, n, 200) for n in range(2)}
    np.testing.assert_allclose(data.mean, (5, 1.5, 100))
    np.testing.assert_allclose(data.std, (5, np.sqrt(1.25), 1))
    assert (data.flip, data.skipped) == (True, ())


def test_hidden_and_other_files_are_passed_over_and_deeper_ones_found(make_folder: FolderMaker) -> None:
    root = make_folder()
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / ".cache").mkdir()
    deep = root / "train" / "cat" / "more" / "z.PNG"
    deep.parent.mkdir()
    Image.new("RGB", (6, 5), (1, 2, 3)).save(deep)
    data = load(root)
    assert (len(data.train), data.skipped) == (9, ())
    assert (1, 2, 3) in colours(data.train.images)


def test_without_test_a_stated_share_is_split_off_by_class(make_folder: FolderMaker, recorder: Recorder) -> None:
    root = make_folder(counts={"train": 8})
    data = load(root, recorder, test_share=0.25, seed=1)
    assert torch.bincount(data.test.labels).tolist() == [2, 2]
    assert torch.bincount(data.train.labels).tolist() == [6, 6]
    assert not colours(data.train.images) & colours(data.test.images)
    assert "25% of its images split off as test images (stratified, seed 1)" in data.source
    assert [line for line in recorder.lines if "4 images (25%) are split off" in line]
    again = load(root, test_share=0.25, seed=1)
    assert torch.equal(again.test.images, data.test.images)
    assert not torch.equal(load(root, test_share=0.25, seed=2).test.images, data.test.images)


def test_decoded_images_are_kept_until_a_file_changes(
    make_folder: FolderMaker, new_recorder: Callable[[], Recorder]
) -> None:
    root = make_folder()
    first, second, third = new_recorder(), new_recorder(), new_recorder()
    data = load(root, first)
    cached = load(root, second)
    assert (len(first.tasks), len(second.tasks)) == (1, 0)
    assert torch.equal(cached.train.images, data.train.images)
    assert torch.equal(cached.test.labels, data.test.labels)
    changed = root / "test" / "cat" / "0.png"
    Image.new("RGB", (6, 5), (9, 9, 9)).save(changed)
    os.utime(changed, ns=(1, 1))
    assert (9, 9, 9) in colours(load(root, third).test.images)
    assert len(third.tasks) == 1
    assert len(list((root.parent / "cache" / "folders").iterdir())) == 1


def test_folders_with_the_same_listing_do_not_share_a_cache(make_folder: FolderMaker, recorder: Recorder) -> None:
    roots = [make_folder(name="one"), make_folder(name="two")]
    for root in roots:
        for file in root.rglob("*.png"):
            file.write_bytes(file.read_bytes().ljust(500, b"\0"))
            os.utime(file, ns=(0, 0))
    load(roots[0])
    load(roots[1], recorder)
    assert len(recorder.tasks) == 1


def test_a_damaged_cache_is_made_again(make_folder: FolderMaker, recorder: Recorder) -> None:
    root = make_folder()
    data = load(root)
    (path,) = (root.parent / "cache" / "folders").iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    assert torch.equal(load(root, recorder).train.images, data.train.images)
    assert len(recorder.tasks) == 1
    assert load(root, recorder) is not None
    assert len(recorder.tasks) == 1


def test_a_cache_that_cannot_be_written_stops_nothing(
    make_folder: FolderMaker, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_folder()
    (root.parent / "cache").write_text("a file where the cache folder should be")
    assert len(load(root).train) == 8
    assert "not kept for the next time" in caplog.text


def test_unreadable_images_are_named_skipped_and_counted(
    make_folder: FolderMaker, new_recorder: Callable[[], Recorder]
) -> None:
    root = make_folder()
    (root / "train" / "cat" / "1.png").write_text("broken")
    (root / "test" / "dog" / "0.png").write_text("broken")
    for _ in ("decoded", "from the cache"):
        recorder = new_recorder()
        data = load(root, recorder)
        assert (len(data.train), len(data.test)) == (7, 3)
        named = (
            "train/cat/1.png (cannot identify image file)",
            "test/dog/0.png (cannot identify image file)",
        )
        assert data.skipped == named
        assert recorder.lines == [f"skipped 2 unreadable of 12 images: {'; '.join(named)}"]
        assert (10, 0, 200) not in colours(data.test.images)


def test_a_file_that_could_only_not_be_opened_is_tried_again(
    make_folder: FolderMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder()

    def locked(path: Path) -> Image.Image:
        if path.name == "1.png" and path.parent.parent.name == "test":
            raise PermissionError(13, "Permission denied", str(path))
        return Image.open(path)

    with monkeypatch.context() as context:
        context.setattr(decode, "Image", SimpleNamespace(open=locked))
        assert load(root).skipped == (
            "test/cat/1.png (Permission denied)",
            "test/dog/1.png (Permission denied)",
        )
    assert load(root).skipped == ()


@pytest.mark.parametrize("size", [(32, 32), (6, 5)])
def test_a_folder_copy_of_cifar10_is_known_by_classes_and_size(make_folder: FolderMaker, size: tuple[int, int]) -> None:
    data = load(make_folder(CIFAR10_CLASSES, {"train": 1, "test": 1}, size, "my copy"))
    if size == (32, 32):
        assert data.name == "cifar10"
        assert "CIFAR-10 as an image folder copy (.png files)" in data.source
    else:
        assert data.name == "my-copy"
    assert data.mean == (125.3069, 122.9501, 113.8660)


def remove(path: Path) -> None:
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()


def lose_class(root: Path) -> None:
    remove(root / "train" / "dog")
    (root / "train" / "dog").rmdir()


def lose_train(root: Path) -> None:
    (root / "train").rename(root / "training")


def break_class(root: Path) -> None:
    for file in (root / "train" / "dog").iterdir():
        file.write_text("broken")


def resize_one(root: Path) -> None:
    Image.new("RGB", (7, 5)).save(root / "test" / "dog" / "1.png")


def empty_train(root: Path) -> None:
    for name in ("cat", "dog"):
        remove(root / "train" / name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_train, r"has no folder train/: expected images as .*train/<class>/\*"),
        (remove, "has no folder train/"),
        (lambda root: remove(root / "train"), "train holds no class folder: at least 2"),
        (lose_class, "train holds only the class 'cat': at least 2"),
        (lambda root: (root / "test" / "cow").mkdir(), "class 'cow' is in .*test but not in .*train"),
        (empty_train, r"train holds no image \(.bmp, "),
        (lambda root: remove(root / "test"), "test holds no image"),
        (break_class, "class 'dog' has no readable image in .*train"),
        (resize_one, "1.png has 7x5 pixels, expected 6x5 like train/cat/0.png: bring all to one size, by --image-size"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(
    make_folder: FolderMaker, damage: Callable[[Path], object], message: str
) -> None:
    root = make_folder()
    damage(root)
    with pytest.raises(DataError, match=message) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(DataError, match=f"no such folder: .*{name}"):
            load(tmp_path / name)


def test_too_few_images_to_split_off_a_test_part_are_refused(make_folder: FolderMaker) -> None:
    with pytest.raises(DataError, match="2 images are too few to split off 20%: add one"):
        load(make_folder(counts={"train": 1}))


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_a_validation_folder_reports_where_there_is_no_test_folder(make_folder: FolderMaker, name: str) -> None:
    data = load(make_folder(counts={"train": 4, name: 3}))
    assert (len(data.train), len(data.test), data.validation) == (8, 6, None)
    assert any(note.endswith(f"{name} reports, as there is no test part") for note in data.notes)


def test_a_validation_folder_beside_a_test_folder_is_what_is_chosen_by(make_folder: FolderMaker) -> None:
    root = make_folder(counts={"train": 4, "test": 2, "val": 3})
    for data in (load(root), load(root)):  # decoded, and from the cache
        assert data.validation is not None
        assert (len(data.train), len(data.test), len(data.validation)) == (8, 4, 6)
        assert any("is what is chosen by" in note for note in data.notes)
        assert data.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_two_validation_folders_are_refused(make_folder: FolderMaker) -> None:
    with pytest.raises(DataError, match="has both val/ and validation/: keep one"):
        load(make_folder(counts={"train": 4, "val": 3, "validation": 3}))


def test_a_class_without_test_images_is_said(make_folder: FolderMaker) -> None:
    root = make_folder()
    for file in (root / "test" / "dog").iterdir():
        file.unlink()
    assert "no test image shows the class 'dog': accuracies there say nothing of it" in load(root).notes
