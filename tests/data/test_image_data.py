"""``gaprune.image_data`` reads what people hold in Python, and refuses everything else in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision import transforms

import gaprune
from gaprune.data import ImageData, datasets
from gaprune.errors import DataError, GapruneError, OptionError

if TYPE_CHECKING:
    from conftest import FolderMaker, Recorder

RANDOM = torch.Generator().manual_seed(0)
PIXELS = torch.randint(0, 256, (24, 3, 10, 10), generator=RANDOM).to(torch.uint8)
LABELS = torch.arange(24) % 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNIT = PIXELS / 255
NORMALISED = (UNIT - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


class Pictures(Dataset[tuple[Any, int]]):
    """PIL images, transformed on the way out, as torchvision's data sets have them."""

    classes = ("a", "b", "c")

    def __init__(self, transform: Any = None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(PIXELS[index].permute(1, 2, 0).numpy())
        return (image if self.transform is None else self.transform(image)), int(LABELS[index])


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(PIXELS, LABELS, strict=True)


class ClassLabel:
    names = ("a", "b", "c")


class Rows:
    """A Hugging Face data set, as far as one is looked at."""

    column_names = ("img", "label")
    features = {"img": object(), "label": ClassLabel()}  # noqa: RUF012

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = Pictures()[index]
        return {"img": image, "label": label}


class RowStream:
    column_names = None
    features = Rows.features

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (Rows()[index] for index in range(len(PIXELS)))


NORMALISE = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
SOURCES = {
    "arrays": (PIXELS.numpy(), LABELS.numpy()),
    "arrays, channels last": (PIXELS.permute(0, 2, 3, 1).numpy(), LABELS.tolist()),
    "tensors from 0 to 1": (UNIT, LABELS),
    "half precision": (UNIT.to(torch.float64), LABELS),
    "floats from 0 to 255": (PIXELS.float(), LABELS),
    "TensorDataset": TensorDataset(PIXELS, LABELS),
    "pictures": Pictures(),
    "normalised pictures": Pictures(NORMALISE),
    "a subset": Subset(Pictures(NORMALISE), range(24)),
    "a loader": DataLoader(Pictures(NORMALISE), batch_size=5),
    "a loader of dicts": DataLoader([{"image": i, "label": n} for i, n in zip(PIXELS, LABELS, strict=True)]),
    "a stream": Stream(),
    "rows": Rows(),
    "streamed rows": RowStream(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_the_same_images_come_out_whatever_they_come_in(source: Any) -> None:
    data = gaprune.image_data(source, source)
    assert torch.equal(data.train.images[:], PIXELS)
    assert torch.equal(data.train.labels, LABELS)
    assert len(data.classes) == 3


@pytest.mark.parametrize("name", ["normalised pictures", "a subset", "a loader"])
def test_what_transforms_normalise_with_is_what_networks_are_fed_with(name: str) -> None:
    data = gaprune.image_data(SOURCES[name], SOURCES[name])
    np.testing.assert_allclose(data.mean, np.array(MEAN) * 255)
    np.testing.assert_allclose(data.std, np.array(STD) * 255)
    assert data.normalised_by == "given"
    assert data.classes == ("a", "b", "c")


def test_normalised_numbers_need_their_mean_and_std() -> None:
    data = gaprune.image_data((NORMALISED, LABELS), mean=MEAN, std=STD, test_share=0.25)
    assert {tuple(image.flatten().tolist()) for image in data.train.images[:]} <= {
        tuple(image.flatten().tolist()) for image in PIXELS
    }
    with pytest.raises(DataError, match=r"numbers from -2.* give uint8 or 0..1, or the mean and std"):
        gaprune.image_data((NORMALISED, LABELS))
    with pytest.raises(DataError, match="which are no numbers normalised with --normalise none"):
        gaprune.image_data((NORMALISED, LABELS), normalise="none")


def test_a_number_of_samples_is_drawn_and_stated(recorder: Recorder) -> None:
    data = gaprune.image_data(Pictures(), Stream(), samples=12, seed=1, reporter=recorder)
    assert (len(data.train), len(data.test)) == (12, 12)
    assert data.notes[0] == "train: 12 of the 24 images of the Pictures, drawn at random (seed 1), pixels"
    assert data.notes[1] == "test: the first 12 images of the Stream, pixels"
    assert recorder.tasks == [("reading train images", 12), ("reading test images", 12)]
    again = gaprune.image_data(Pictures(), Stream(), samples=12, seed=1)
    assert torch.equal(again.train.images[:], data.train.images[:])


def test_a_part_holds_no_more_than_its_share_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MOST_BYTES", 9 * 300)
    data = gaprune.image_data(Stream(), Stream())
    assert len(data.train) == 9
    assert data.notes[0].startswith("train: the first 9 images")


def test_what_memory_holds_of_a_data_set_that_lies_class_by_class_shows_every_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.arange(60, dtype=np.uint8).repeat(3 * 8 * 8).reshape(60, 3, 8, 8)
    labels = np.arange(60) // 20
    monkeypatch.setattr(datasets, "MOST_BYTES", 24 * images[0].nbytes)
    data = gaprune.image_data((images, labels), (images, labels), classes=("a", "b", "c"))
    assert len(data.train) == 24
    assert set(data.train.labels.tolist()) == {0, 1, 2}
    assert data.notes[0] == "train: 24 of the 60 images of arrays, drawn at random (seed 0), pixels"


def test_images_of_many_sizes_are_brought_to_one() -> None:
    images = [np.full((20 + n, 30 - n, 3), n, dtype=np.uint8) for n in range(12)]
    labels = [n % 2 for n in range(12)]
    data = gaprune.image_data((images, labels), image_size=16, resize=18, test_share=0.25)
    assert data.image_shape == (3, 16, 16)
    with pytest.raises(DataError, match=r"image 1 is \(C, H, W\) = \(3, 21, 29\), .* by image_size=224"):
        gaprune.image_data((images, labels))


def test_parts_are_taken_from_a_dict() -> None:
    parts = {"train": Rows(), "validation": Stream(), "test": Pictures()}
    data = gaprune.image_data(parts)
    assert data.validation is not None
    assert gaprune.image_data({"train": Rows(), "validation": Stream()}).validation is None


def test_a_folder_is_read_as_the_command_reads_it(make_folder: FolderMaker, tmp_path: Path) -> None:
    data = gaprune.image_data(make_folder(), image_size=8, mean=0.5, std=0.5, cache_dir=tmp_path / "cache")
    assert (data.image_shape, data.mean) == ((3, 8, 8), (127.5,) * 3)
    with pytest.raises(DataError, match="brings its own test images"):
        gaprune.image_data(tmp_path, tmp_path)


@pytest.mark.parametrize(("told", "value"), [("name", "mine"), ("classes", ("a", "b")), ("samples", 4)])
def test_a_folder_ignores_nothing_in_silence(
    make_folder: FolderMaker, tmp_path: Path, told: str, value: object
) -> None:
    options: dict[str, Any] = {told: value}
    with pytest.raises(OptionError, match=f"{told} has no meaning with a folder"):
        gaprune.image_data(tmp_path, **options)
    data = gaprune.image_data(make_folder(), image_size=8, flip=False, cache_dir=tmp_path / "cache")
    assert not data.flip


class Broken(Pictures):
    def __getitem__(self, index: int) -> tuple[Any, int]:
        raise RuntimeError("no disk\nat all")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "train must be a folder, .* got None"),
        (Pictures, "train is the class Pictures: give an object of it"),
        (nn.Linear(2, 2), "got an object of type Linear"),
        (PIXELS, "got an object of type Tensor"),
        ({}, "got a dict of "),
        ({"test": Rows()}, "got a dict of test"),
        ((PIXELS,), "got a tuple of 1"),
        ((PIXELS, None), "got a pair of which object of type 'NoneType' has no len"),
        ((PIXELS, LABELS[:5]), "train needs one label for each image, and at least one: got 24 and 5"),
        ((PIXELS[:0], LABELS[:0]), "at least one: got 0 and 0"),
        ((PIXELS.long(), LABELS), "images must be uint8 or floating-point, got int64"),
        ((PIXELS, LABELS.float()), "labels must be whole numbers from 0 up"),
        ((PIXELS, LABELS - 1), "labels must be whole numbers from 0 up"),
        ((PIXELS, LABELS + 1), "no training image has the label 0 of 0 to 3: labels begin at 0, subtract 1"),
        ((PIXELS, LABELS * 2), "has the label 1 of 0 to 4: labels begin at 0, number the classes without gaps"),
        ((PIXELS, LABELS * 0), "has 1 class: at least 2"),
        (TensorDataset(PIXELS), "train must give pairs .image, label., got a tuple of 1"),
        (DataLoader(TensorDataset(PIXELS)), "train must give pairs"),
        (DataLoader(TensorDataset(LABELS, LABELS)), "must give batches of images"),
        (Broken(), "train cannot be read: RuntimeError: no disk"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        gaprune.image_data(source)
    assert "\n" not in str(caught.value)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from([object(), int, nn.Linear, len, PIXELS, LABELS, Ellipsis, np.zeros((2, 2)), Path("nowhere")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["train", "test", "x"]), inner, max_size=3)
        | st.sets(st.integers(), max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None)
@given(train=anything, test=anything)
def test_no_argument_of_another_kind_becomes_a_default(train: Any, test: Any) -> None:
    try:
        made = gaprune.image_data(train, test)
    except GapruneError as error:
        lines = str(error).splitlines()
    else:
        lines = [made.name]
        assert isinstance(made, ImageData)
        assert isinstance(train, (tuple, dict))
    assert len(lines) == 1


@pytest.mark.parametrize("samples", [0, 1, -3, 2.5, "many"])
def test_a_number_of_samples_that_cannot_be_is_refused(samples: Any) -> None:
    with pytest.raises(OptionError, match="samples must be a whole number of at least 2"):
        gaprune.image_data(Stream(), samples=samples)
