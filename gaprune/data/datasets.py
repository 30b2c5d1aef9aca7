"""``gaprune.image_data``: a data set of whatever somebody holds in Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gaprune.data.arrays import assemble, class_labels
from gaprune.data.fit import Fit
from gaprune.data.given import Given, given_normalisation
from gaprune.data.images import ImageData, ImageSet
from gaprune.data.levels import Levels, pixels_of
from gaprune.data.listing import VALIDATION_NAMES
from gaprune.data.names import own_name
from gaprune.data.origins import KINDS, Item, Origin, kind, origin
from gaprune.data.sources import load_data
from gaprune.data.stratify import complement, drawable, stratified
from gaprune.errors import DataError, OptionError, first_line
from gaprune.kinds import NAMES, PATH, REPORTER, SEED, SWITCH, TEXT, check
from gaprune.progress import SILENT, Reporter

SAMPLES = 50_000
"""Images of a part at most, unless told otherwise."""

MOST_BYTES = 1 << 30
"""Of a part's pixels, which are held in memory."""

NAME = "images"
"""Of data that nobody has given a name."""

_PROBED = 64


def image_data(
    train: Any,
    test: Any = None,
    *,
    name: str = NAME,
    classes: Sequence[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    normalise: str | None = None,
    image_size: int | None = None,
    resize: int | None = None,
    samples: int | None = None,
    test_share: float = 0.2,
    flip: bool = True,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    reporter: Reporter = SILENT,
) -> ImageData:
    """A data set from a folder, arrays, a torch ``Dataset`` or ``DataLoader``, or a Hugging Face data set.

    All but folders are read once and held in memory as uint8: at most ``samples`` images a part, and 1 GiB. Images may
    be PIL images, uint8, or floating-point from 0 to 1; normalised ones are brought back to pixels, by ``mean`` and
    ``std`` or by the ``Normalize`` among the transforms of the data set, and networks are fed with the same.

    >>> import torch, gaprune
    >>> from torch.utils.data import TensorDataset
    >>> pixels = torch.rand(8, 3, 16, 16)
    >>> data = gaprune.image_data(TensorDataset(pixels, torch.arange(8) % 2), test_share=0.25, normalise="imagenet")
    >>> len(data.train), len(data.test), data.image_shape
    (6, 2, (3, 16, 16))

    Args:
        train: the images to train on: a folder or CSV file (as ``--data-dir`` takes it), a pair (images, labels), a
            ``Dataset`` or ``DataLoader`` of (image, label), a Hugging Face data set with columns such as ``image`` and
            ``label``, or a dict of these with the keys ``train``, ``test`` and perhaps ``validation``.
        test: the images that report; without any, ``test_share`` of ``train``.
        name: short name for file names and tables; a folder brings its own, and its classes.
        classes: class names in label order; by default those of the data set, or the labels' numbers.
        mean: of the normalisation that the network was trained with, one number a channel or one for all, of pixels
            from 0 to 1 or from 0 to 255; by default the training images' own.
        std: standard deviation, likewise.
        normalise: instead of both: ``imagenet``, ``half`` (-1 to 1) or ``none`` (0 to 1).
        image_size: images are brought to squares of this side, in pixels: short side resized, centre cut out.
        resize: what the short side is resized to before; ``image_size`` by default.
        samples: images that are drawn of a part, at most; 50,000 by default.
        test_share: see ``test``.
        flip: whether a mirrored image still shows its class.
        seed: decides which images are drawn or split off.
        cache_dir: where decoded photographs of a folder are kept.
        reporter: told of progress.

    Raises:
        DataError: an argument is of another kind, or its images or labels cannot be used.
        OptionError: a number or a name cannot be used.
    """
    check({"name": (name, TEXT), "classes": (classes, NAMES.or_none()), "flip": (flip, SWITCH)}, DataError)
    check({"seed": (seed, SEED), "cache_dir": (cache_dir, PATH.or_none()), "reporter": (reporter, REPORTER)})
    if isinstance(train, (str, Path)):
        _check_folder(train, test, name=name != NAME, classes=classes is not None, samples=samples is not None)
        found = load_data(
            data_dir=Path(train),
            test_share=test_share,
            seed=seed,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            reporter=reporter,
            image_size=image_size,
            resize=resize,
            mean=mean,
            std=std,
            normalise=normalise,
        )
        return replace(found, flip=found.flip and flip)
    if samples is not None and (not isinstance(samples, int) or samples < 2):
        raise OptionError(f"samples must be a whole number of at least 2, got {samples!r}")
    if not isinstance(test_share, (int, float)) or not 0 < test_share < 1:
        raise OptionError(f"test_share must be above 0 and below 1, got {test_share!r}")
    given = given_normalisation(mean, std, normalise)
    reader = _Reader(Fit.of(image_size, resize), given, samples or SAMPLES, seed, reporter)
    parts = {part: reader(origin(what, part), part) for part, what in _parts(train, test).items()}
    return _assembled(name, parts, classes, test_share, flip, seed)


def _check_folder(folder: str | Path, test: Any, **told: bool) -> None:
    """Refuse what a folder says itself; ``told`` is whether an argument was given, by its name."""
    if test is not None:
        raise DataError(f"the folder {folder} brings its own test images: leave test out")
    without_meaning = [name for name, given in told.items() if given]
    if without_meaning:
        raise OptionError(f"{without_meaning[0]} has no meaning with a folder, {folder}: leave it out")


def _parts(train: Any, test: Any) -> dict[str, Any]:
    """By part what was given for it."""
    if not isinstance(train, Mapping):
        return {"train": train} if test is None else {"train": train, "test": test}
    if test is not None or "train" not in train:
        raise DataError(f"train must be {KINDS}; got a dict of {', '.join(map(str, list(train)[:4]))}")
    between = [train[key] for key in VALIDATION_NAMES if key in train][:1]
    found = {"train": train["train"]}
    if "test" in train:
        return found | {"test": train["test"]} | ({"validation": between[0]} if between else {})
    return found | ({"test": between[0]} if between else {})


@dataclass(frozen=True)
class _Part:
    """What was read of a part."""

    images: ImageSet
    classes: tuple[str, ...] | None
    given: Given | None
    note: str


@dataclass(frozen=True)
class _Reader:
    """Reads parts in one way.

    Attributes:
        fit: how images are brought to one size.
        given: the normalisation that was asked for.
        samples: images of a part at most.
        seed: of what is drawn.
        reporter: told of progress.
    """

    fit: Fit | None
    given: Given | None
    samples: int
    seed: int
    reporter: Reporter

    def __call__(self, source: Origin, part: str) -> _Part:
        known = self.given or source.given
        try:
            probe, items, levels, line = self._begun(source, part, known)
            images, labels = self._read(probe, items, levels, part, source.count)
        except (DataError, OptionError) as error:
            message = str(error) if str(error).startswith(part) else f"{part}: {error}"
            raise DataError(message) from error
        except Exception as error:  # a stranger's data set may raise anything
            raise DataError(f"{part} cannot be read: {type(error).__name__}: {first_line(error)}") from error
        note = f"{part}: {line.format(count=len(labels))}, {levels.found}"
        normalised = known if levels.found.startswith("numbers") else self.given
        return _Part(ImageSet(torch.from_numpy(images), torch.tensor(labels)), source.classes, normalised, note)

    def _begun(self, source: Origin, part: str, known: Given | None) -> tuple[list[Item], Iterator[Item], Levels, str]:
        """The first images, the rest, what their numbers are, and a line that says which images these are.

        Where memory holds fewer than were asked for they are drawn again: data sets often lie class by class, and
        the first so many would leave classes out.
        """
        items, line = source.drawn(self.samples, self.seed)
        probe = _taken(items, part)
        levels = Levels.of([image for image, _ in probe], known)
        room = max(1, MOST_BYTES // pixels_of(probe[0][0], levels, self.fit).nbytes)
        if source.indexed is not None and room < min(self.samples, source.count or 0):
            items, line = source.drawn(room, self.seed)
            probe = _taken(items, part)
        return probe, items, levels, line

    def _read(
        self, probe: Sequence[Item], rest: Iterator[Item], levels: Levels, part: str, count: int | None
    ) -> tuple[NDArray[np.uint8], list[int]]:
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        total = min(self.samples, count or self.samples)
        with self.reporter.task(f"reading {part} images", total) as task:
            for number, (image, label) in enumerate(_chained(probe, rest)):
                pixels = np.ascontiguousarray(pixels_of(image, levels, self.fit))
                if images and images[0].shape != pixels.shape:
                    raise DataError(
                        f"image {number} is (C, H, W) = {pixels.shape}, the first is {images[0].shape}: bring all to "
                        "one size, by image_size=224 for example"
                    )
                images.append(pixels)
                labels.append(_label(label))
                task.advance()
                if (len(images) + 1) * pixels.nbytes > MOST_BYTES:
                    break
        return np.stack(images), labels


def _taken(items: Iterator[Item], part: str) -> list[Item]:
    """The first images of a part."""
    probe = list(itertools.islice(items, _PROBED))
    if not probe:
        raise DataError(f"{part} holds no image")
    return probe


def _chained(probe: Sequence[Item], rest: Iterator[Item]) -> Iterator[Item]:
    yield from probe
    yield from rest


def _label(label: Any) -> int:
    value = np.asarray(label.cpu() if isinstance(label, torch.Tensor) else label)
    if value.ndim != 0 or value.dtype.kind not in "iu" or value < 0:
        raise DataError(f"labels must be whole numbers from 0 up, got {kind(label)} {str(label)[:40]!r}")
    return int(value)


def _assembled(
    name: str,
    parts: dict[str, _Part],
    classes: Sequence[str] | None,
    test_share: float,
    flip: bool,
    seed: int,
) -> ImageData:
    train, notes = parts["train"].images, [part.note for part in parts.values()]
    if "test" in parts:
        test = parts["test"].images
    else:
        size = max(1, round(len(train) * test_share))
        if size > drawable(train.labels, leave=1):
            raise DataError(f"train has {len(train)} images, too few to split off {test_share:.0%}: give test images")
        chosen = stratified(train.labels, size, purpose="test", seed=seed, leave=1)
        train, test = train.select(complement(chosen, len(train))), train.select(chosen)
        notes.append(f"{len(test):,} images ({test_share:.0%}) are split off to report on")
    for part, found in parts.items():
        if found.images.images.shape[1:] != train.images.shape[1:]:
            sizes = [tuple(images.images.shape[1:]) for images in (found.images, train)]
            raise DataError(f"{part} images are (C, H, W) = {sizes[0]}, training images {sizes[1]}: make them one size")
    known = classes if classes is not None else parts["train"].classes
    validation = parts["validation"].images if "validation" in parts else None
    judging = test.labels if validation is None else torch.cat([test.labels, validation.labels])
    names = class_labels(name, train.labels, judging, known)
    called = own_name(name, "arrays", names, train.images.shape)
    source = f"{'; '.join(notes)}; given by the caller as {name!r}"
    given = parts["train"].given
    return assemble(
        called, source, names, train, test, flip=flip, validation=validation, given=given, notes=tuple(notes)
    )
