"""Where somebody's images come from: arrays, a ``Dataset``, a ``DataLoader``, a Hugging Face data set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from gaprune.data.given import Given, given_normalisation
from gaprune.errors import DataError, OptionError, first_line

KINDS = (
    "a folder, a CSV file, a pair (images, labels), a torch Dataset or DataLoader, a Hugging Face data set, or a dict "
    "of these with the keys train and test"
)

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img", "pixel_values"), ("label", "labels", "fine_label", "target")
"""What columns of Hugging Face data sets are called."""

_DEEP = 8

Item = tuple[Any, Any]


@dataclass(frozen=True)
class Origin:
    """Images with labels, one after the other or by index.

    Attributes:
        what: in words.
        items: (image, label) in order, where they come one after the other.
        indexed: (image, label) by index, where they can be asked for so.
        count: how many there are, where that is known.
        classes: names in label order, where they are known.
        given: normalisation that its transforms apply, where they say so.
    """

    what: str
    items: Iterable[Item] | None
    indexed: Any
    count: int | None
    classes: tuple[str, ...] | None = None
    given: Given | None = None

    def drawn(self, most: int, seed: int) -> tuple[Iterator[Item], str]:
        """At most so many, drawn at random where that can be, and a line that says which."""
        if self.indexed is None:
            assert self.items is not None
            return itertools.islice(iter(self.items), most), f"the first {{count:,}} images of {self.what}"
        assert self.count is not None
        if self.count <= most:
            return (self.indexed[i] for i in range(self.count)), f"all {{count:,}} images of {self.what}"
        chosen = np.sort(np.random.default_rng(seed).permutation(self.count)[:most])
        line = f"{{count:,}} of the {self.count:,} images of {self.what}, drawn at random (seed {seed})"
        return (self.indexed[int(i)] for i in chosen), line


class _Pair:
    """Images and labels side by side."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __getitem__(self, index: int) -> Item:
        return self.images[index], self.labels[index]


class _Rows:
    """Rows of a Hugging Face data set."""

    def __init__(self, rows: Any, image: str, label: str) -> None:
        self.rows, self.image, self.label = rows, image, label

    def __getitem__(self, index: int) -> Item:
        return self._item(self.rows[index])

    def __iter__(self) -> Iterator[Item]:
        return map(self._item, self.rows)

    def _item(self, row: Mapping[str, Any]) -> Item:
        return row[self.image], row[self.label]


def origin(what: Any, part: str) -> Origin:
    """What somebody gave as a part of their data.

    Raises:
        DataError: it is of a kind that cannot be read.
    """
    if isinstance(what, type):
        raise DataError(f"{part} is the class {what.__name__}: give an object of it")
    if isinstance(what, tuple) and len(what) == 2:
        return _pair(*what, part)
    if hasattr(what, "features") and hasattr(what, "column_names"):
        return _table(what, part)
    if isinstance(what, DataLoader):
        return Origin("a DataLoader", _unbatched(what, part), None, None, *_known(what.dataset))
    if isinstance(what, IterableDataset):
        return Origin(f"the {type(what).__name__}", _checked(what, part), None, None, *_known(what))
    if isinstance(what, Dataset):
        if not hasattr(what, "__len__"):
            raise DataError(f"{part}: the Dataset {type(what).__name__} has no __len__: add one, or give a DataLoader")
        return Origin(f"the {type(what).__name__}", None, _Checked(what, part), len(what), *_known(what))
    raise DataError(f"{part} must be {KINDS}; got {kind(what)}")


def kind(what: Any) -> str:
    """What an argument is, in words."""
    if what is None:
        return "None"
    if isinstance(what, type):
        return f"the class {what.__name__}"
    if isinstance(what, (list, tuple)):
        return f"a {type(what).__name__} of {len(what)}"
    return f"an object of type {type(what).__name__}"


def _pair(images: Any, labels: Any, part: str) -> Origin:
    try:
        sizes = len(images), len(labels)
    except TypeError as error:
        raise DataError(f"{part} must be {KINDS}; got a pair of which {first_line(error)}") from error
    if sizes[0] != sizes[1] or sizes[0] == 0:
        raise DataError(f"{part} needs one label for each image, and at least one: got {sizes[0]} and {sizes[1]}")
    return Origin("arrays", None, _Pair(images, labels), sizes[0])


def _table(rows: Any, part: str) -> Origin:
    names = rows.column_names
    columns = list(names or rows.features or next(iter(rows), ()))  # a stream may tell by its rows alone
    found = [next((name for name in wanted if name in columns), None) for wanted in (IMAGE_COLUMNS, LABEL_COLUMNS)]
    image, label = found
    if image is None or label is None:
        wanted = "images" if image is None else "labels"
        known = ", ".join(IMAGE_COLUMNS if image is None else LABEL_COLUMNS)
        there = ", ".join(map(str, columns))
        raise DataError(f"{part}: no column of {there} holds {wanted}: rename one to any of {known}")
    feature = rows.features[label] if rows.features and label in rows.features else None
    classes = getattr(feature, "names", None)
    known_classes = None if classes is None else tuple(map(str, classes))
    read = _Rows(rows, image, label)
    if hasattr(rows, "__len__") and hasattr(rows, "__getitem__"):
        return Origin("the data set", None, read, len(rows), known_classes)
    return Origin("the data set", read, None, None, known_classes)


class _Checked:
    """A data set by index whose items are pairs, or it is said that they are not."""

    def __init__(self, what: Any, part: str) -> None:
        self.what, self.part = what, part

    def __getitem__(self, index: int) -> Item:
        return _as_item(self.what[index], self.part)


def _checked(items: Iterable[Any], part: str) -> Iterator[Item]:
    return (_as_item(item, part) for item in items)


def _as_item(item: Any, part: str) -> Item:
    if isinstance(item, Mapping):
        image = next((item[name] for name in IMAGE_COLUMNS if name in item), None)
        label = next((item[name] for name in LABEL_COLUMNS if name in item), None)
        if image is not None and label is not None:
            return image, label
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise DataError(f"{part} must give pairs (image, label), got {kind(item)}")


def _unbatched(loader: Iterable[Any], part: str) -> Iterator[Item]:
    for batch in loader:
        images, labels = _as_item(batch, part)
        if not isinstance(images, (Tensor, np.ndarray)) or images.ndim != 4:
            raise DataError(f"{part} must give batches of images (N, C, H, W) with N labels, got {kind(images)}")
        yield from zip(images, labels, strict=True)


def _known(what: Any) -> tuple[tuple[str, ...] | None, Given | None]:
    """Class names and normalisation that a data set, or what it is a subset of, tells."""
    classes: tuple[str, ...] | None = None
    given: Given | None = None
    for _ in range(_DEEP):
        names = getattr(what, "classes", None)
        if classes is None and isinstance(names, Sequence) and not isinstance(names, str):
            classes = tuple(map(str, names))
        given = given or _normalize_in(getattr(what, "transform", None))
        what = getattr(what, "dataset", None)
        if what is None:
            break
    return classes, given


def _normalize_in(transform: Any) -> Given | None:
    """What torchvision's ``Normalize`` among transforms divides and subtracts."""
    steps = getattr(transform, "transforms", None) or [transform]
    for step in steps:
        if type(step).__name__ == "Normalize":
            try:
                found = given_normalisation(np.asarray(step.mean).tolist(), np.asarray(step.std).tolist())
            except (AttributeError, OptionError):
                return None
            return None if found is None else Given(found.mean, found.std, f"{found.how}, by the transforms")
    return None
