"""Photographs of any sizes are decoded when somebody looks at them, once, and never all in memory."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gaprune.data import decode, photos, store
from gaprune.data.fit import Fit
from gaprune.data.folder import load_folder
from gaprune.data.images import ImageData, ImageSet
from gaprune.data.photos import Photographs, epoch_of, stored
from gaprune.data.store import StoredImages
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter
from gaprune.training.digest import digest_images

if TYPE_CHECKING:
    from conftest import Recorder

SIDE = 16


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """A folder as people have it: every photograph of another size, one grey, one on its side."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 5)):
        for label, name in enumerate(("beach", "hills")):
            folder = tmp_path / "holiday" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                size = (20 + 3 * number, 60 - 2 * number, 3)
                pixels = rng.integers(100 * label, 100 * label + 90, size, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.new("L", (30, 40), 7).save(tmp_path / "holiday" / "train" / "beach" / "0.png")
    return tmp_path / "holiday"


def load(root: Path, reporter: Reporter = SILENT, **options: Any) -> ImageData:
    fit = options.pop("fit", Fit(SIDE, SIDE))
    return load_folder(root, cache_dir=root.parent / "cache", reporter=reporter, fit=fit, **options)


def pixels(images: ImageSet) -> Tensor:
    return images.loaded().images[:]


def test_photographs_are_brought_to_one_size_and_said_so(holiday: Path) -> None:
    data = load(holiday)
    assert data.image_shape == (3, SIDE, SIDE)
    assert (len(data.train), len(data.test)) == (20, 10)
    assert "photographs: short side to 16 pixels, then the centre of 16x16" in data.notes
    first = pixels(data.train)[1]
    with Image.open(holiday / "train" / "beach" / "1.png") as image:
        assert np.array_equal(first.permute(1, 2, 0), Fit(SIDE, SIDE).centred(image))


def test_only_what_is_looked_at_is_decoded(holiday: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = decode.decode_one

    def watched(path: Path, way: Callable[..., Any]) -> Any:
        seen.append(path.name)
        return real(path, way)

    monkeypatch.setattr(decode, "decode_one", watched)
    monkeypatch.setattr(photos, "decode_one", watched)
    data = load(holiday, given=None)
    assert len(seen) == 20  # the sample for mean and standard deviation, of which there are no more
    seen.clear()
    data.train.select(torch.arange(10)).select(torch.tensor([3, 4]))
    assert seen == []
    stored(data.test.select(torch.arange(4)), holiday.parent / "cache")
    assert len(seen) == 4


def test_a_set_is_decoded_once_with_progress_and_found_again(
    holiday: Path, new_recorder: Callable[[], Recorder]
) -> None:
    cache, first, second = holiday.parent / "cache", new_recorder(), new_recorder()
    data = load(holiday)
    found, skipped = stored(data.test, cache, first)
    assert (first.tasks, first.steps, skipped) == ([("decoding photographs to 16x16", 10)], 10, ())
    assert isinstance(found.images, StoredImages)
    again, _ = stored(load(holiday).test, cache, second)
    assert second.tasks == []
    assert torch.equal(pixels(again), pixels(data.test))
    changed = holiday / "test" / "hills" / "0.png"
    Image.new("RGB", (50, 50), (1, 2, 3)).save(changed)
    third = new_recorder()
    anew, _ = stored(load(holiday).test, cache, third)
    assert len(third.tasks) == 1
    assert anew.images[torch.tensor([5])][0, :, 0, 0].tolist() == [1, 2, 3]


def test_another_size_is_decoded_apart(holiday: Path, recorder: Recorder) -> None:
    cache = holiday.parent / "cache"
    stored(load(holiday).test, cache)
    other, _ = stored(load(holiday, fit=Fit(SIDE, SIDE + 4)).test, cache, recorder)
    assert recorder.tasks == [("decoding photographs to short side 20, 16x16", 10)]
    assert other.images.shape == (10, 3, SIDE, SIDE)


def test_stored_images_answer_like_a_tensor(holiday: Path) -> None:
    whole = pixels(load(holiday).test)
    lazy = stored(load(holiday).test, holiday.parent / "cache")[0].images
    assert isinstance(lazy, StoredImages)
    assert lazy.shape == whole.shape
    assert torch.equal(lazy[2:5], whole[2:5])
    assert torch.equal(lazy[torch.tensor([7, 0])], whole[[7, 0]])
    assert torch.equal(lazy.select(torch.tensor([7, 0, 3]))[1:], whole[[0, 3]])
    assert all(torch.equal(a, b) for a, b in zip(lazy.tensor_split(3), whole.tensor_split(3), strict=True))
    assert torch.equal(lazy.to("cpu")[:], whole)


def test_contents_have_one_name_wherever_they_are(holiday: Path, tmp_path: Path) -> None:
    data = load(holiday)
    on_disk, _ = stored(data.test, holiday.parent / "cache")
    assert digest_images(on_disk) == digest_images(on_disk.loaded())
    moved = holiday.rename(tmp_path / "moved")
    assert digest_images(load(moved).train) == digest_images(data.train)
    assert digest_images(load(moved, fit=Fit(SIDE, 20)).train) != digest_images(data.train)


def test_what_was_cached_and_is_damaged_is_made_again(
    holiday: Path, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    cache = holiday.parent / "cache"
    expected = pixels(stored(load(holiday).test, cache)[0])
    for path in (cache / photos.PHOTOS).rglob("*.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    again, _ = stored(load(holiday).test, cache, recorder)
    assert ("decoding photographs to 16x16", 10) in recorder.tasks
    assert "damaged" in caplog.text
    assert torch.equal(pixels(again), expected)


def test_a_file_cut_short_or_without_its_record_counts_as_absent(holiday: Path) -> None:
    cache = holiday.parent / "cache"
    stored(load(holiday).test, cache)
    (path,) = [p for p in (cache / photos.PHOTOS).rglob("*.npy") if store.read_images(p)][:1] or [None]
    assert path is not None
    path.write_bytes(path.read_bytes()[:-10])
    assert store.read_images(path) is None
    path.with_suffix(".json").write_text(json.dumps({"images": 1}))
    assert store.read_images(path) is None
    path.with_suffix(".json").unlink()
    assert store.read_images(path) is None


def test_a_cache_that_cannot_be_written_stops_nothing(holiday: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(holiday, given=None)
    blocked = holiday.parent / "blocked"
    blocked.write_text("a file where the cache should be")
    found, _ = stored(data.test, blocked)
    assert isinstance(found.images, Tensor)
    assert "not kept for the next time" in caplog.text
    assert torch.equal(found.images, pixels(data.test))


def test_old_files_of_a_folder_go(holiday: Path) -> None:
    cache, data = holiday.parent / "cache", load(holiday)
    for number in range(store.KEPT + 3):
        stored(data.train.select(torch.tensor([number])), cache)
    (folder,) = (cache / photos.PHOTOS).iterdir()
    assert len(list(folder.glob("*.npy"))) == store.KEPT
    assert len(list(folder.iterdir())) == 2 * store.KEPT


def test_what_a_killed_process_left_goes_and_what_another_one_writes_stays(holiday: Path) -> None:
    cache, data = holiday.parent / "cache", load(holiday)
    (folder,) = (cache / photos.PHOTOS).iterdir()
    left = [folder / name for name in (".photos-old", "unrecorded.npy", ".photos-new")]
    for file in left:
        file.write_bytes(b"half")
    for file in left[:2]:
        os.utime(file, (0, 0))
    stored(data.test, cache)
    assert [file.exists() for file in left] == [False, False, True]


def test_a_cache_that_may_only_be_read_serves(
    holiday: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache, data = holiday.parent / "cache", load(holiday)
    stored(data.test, cache)
    assert len({file.stat().st_mode for file in (cache / photos.PHOTOS).glob("*/*")}) == 1, "all may be read alike"

    def refused(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(store.os, "utime", refused)
    assert isinstance(stored(data.test, cache)[0].images, StoredImages)
    assert caplog.text == ""


def test_photographs_that_cannot_be_read_are_left_out_and_named(holiday: Path) -> None:
    (holiday / "test" / "hills" / "2.png").write_text("broken")
    for _ in ("decoded", "from the cache"):
        found, skipped = stored(load(holiday).test, holiday.parent / "cache")
        assert skipped == ("test/hills/2.png (cannot identify image file)",)
        assert (len(found), found.labels.tolist()) == (9, [0] * 5 + [1] * 4)
        assert len(found.images) == 9


def test_a_set_without_a_readable_photograph_is_refused(holiday: Path) -> None:
    for path in (holiday / "test").rglob("*.png"):
        path.write_text("broken")
    with pytest.raises(DataError, match=r"no readable image among 10 in .*holiday, for example test/beach/0.png"):
        stored(load(holiday).test, holiday.parent / "cache")


def epoch(data: ImageData, seed: int, order: Tensor, size: int = 4) -> list[Tensor]:
    chunks = order.split(size)
    with epoch_of(data.train, chunks, seed) as train:
        return [train.batch(chunk)[0] for chunk in chunks]


def test_an_epoch_sees_random_parts_that_depend_on_its_seed_alone(holiday: Path) -> None:
    data, order = load(holiday), torch.randperm(20, generator=torch.Generator().manual_seed(0))
    first, again, other = (epoch(data, seed, order) for seed in (3, 3, 4))
    assert [batch.shape[0] for batch in first] == [4] * 5
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    by_place = torch.cat(first)[order.argsort()]
    assert torch.equal(by_place, torch.cat(epoch(data, 3, torch.arange(20), size=7)))


def test_an_epoch_that_is_left_early_leaves_no_work_behind(holiday: Path) -> None:
    data = load(holiday)
    before = threading.active_count()
    with epoch_of(data.train, torch.arange(20).split(4), 0) as train:
        train.batch(torch.arange(4))
    assert threading.active_count() == before


def test_images_in_memory_are_what_an_epoch_sees(square_data: ImageData) -> None:
    with epoch_of(square_data.train, [], 0) as train:
        assert train is square_data.train


def test_a_broken_photograph_is_grey_in_an_epoch_and_logged(holiday: Path, caplog: pytest.LogCaptureFixture) -> None:
    (holiday / "train" / "beach" / "3.png").write_text("broken")
    (batch,) = epoch(load(holiday, given=None), 0, torch.tensor([3]))
    assert batch.unique().tolist() == [photos.GREY]
    assert "shown as a grey image" in caplog.text


def test_photographs_take_no_more_than_their_names(holiday: Path) -> None:
    images = load(holiday).train.images
    assert isinstance(images, Photographs)
    assert images.shape == (20, 3, SIDE, SIDE)
    assert torch.equal(images[2:4], images.select(torch.tensor([2, 3]))[:])
