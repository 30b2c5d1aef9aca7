"""From what a user asks for to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gaprune.data.cache import default_cache_dir
from gaprune.data.cifar10 import find_root, load_cifar10, read_root
from gaprune.data.digits import load_digits
from gaprune.data.fit import Fit
from gaprune.data.folder import load_folder
from gaprune.data.given import Given, given_normalisation, normalisation_line
from gaprune.data.images import ImageData
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError, OptionError, choice_error
from gaprune.kinds import PATH, REPORTER, SEED, TEXT, check
from gaprune.options import Data, names
from gaprune.progress import SILENT, Reporter


def data_names() -> tuple[str, ...]:
    """The names that ``load_data`` takes."""
    return names(Data)


def load_data(
    data: str = "auto",
    *,
    data_dir: Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
    image_size: int | None = None,
    resize: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    normalise: str | None = None,
) -> ImageData:
    """Load a data set by name or from a folder.

    >>> import gaprune
    >>> data = gaprune.load_data("digits", normalise="none")
    >>> len(data.train), data.image_shape, data.std
    (1438, (3, 32, 32), (255.0, 255.0, 255.0))

    Args:
        data: ``auto`` takes ``data_dir`` if given, else CIFAR-10 if it is cached or can be downloaded, else
            the built-in digits, after a line that says why; ``cifar10`` insists on CIFAR-10, from
            ``data_dir`` if given; ``digits`` is the built-in set.
        data_dir: a torchvision CIFAR-10 root; an image folder ``train/<class>/*`` with ``test/``, ``val/`` or
            ``validation/`` beside it; or a CSV file with columns such as ``file``, ``label`` and ``split``.
        test_share: share of an image folder without any of these that is split off to report on, 0 to 1.
        seed: decides which images are split off, there and among the digits.
        cache_dir: where downloads and decoded images are kept; ``default_cache_dir()`` by default.
        reporter: told of progress and of anything out of the ordinary.
        image_size: photographs of a folder are brought to squares of this side, in pixels, and decoded when they
            are needed; without it all images of a folder must have one size.
        resize: what their short side is resized to before the centre is cut out; ``image_size`` by default.
        mean: of the normalisation that a network was trained with: one number a channel or one for all, of pixels
            from 0 to 1 or from 0 to 255; by default the training images' own.
        std: standard deviation, likewise.
        normalise: instead of both: ``imagenet``, ``half`` (-1 to 1) or ``none`` (0 to 1).

    Raises:
        OptionError: an unknown name, a value out of range, or options that do not go together.
        DataError: the data set is missing, damaged, empty, or not CIFAR-10 where that was asked for.
    """
    check({"data": (data, TEXT), "data_dir": (data_dir, PATH.or_none()), "cache_dir": (cache_dir, PATH.or_none())})
    check({"seed": (seed, SEED), "reporter": (reporter, REPORTER)})
    if data not in data_names():
        raise choice_error("data", data, data_names())
    reading = Reading.of(test_share, image_size, resize, mean, std, normalise)
    if data_dir is None and reading.fit is not None:
        raise OptionError("image-size is for folders of photographs: give data-dir, or leave it out")
    cache_dir = default_cache_dir() if cache_dir is None else Path(cache_dir)
    if data == "digits":
        if data_dir is not None:
            raise OptionError(f"data 'digits' is built in and takes no data_dir, got {data_dir}")
        return reading.normalised(load_digits(seed))
    if data_dir is not None:
        return _from_dir(data, Path(data_dir), reading, seed, cache_dir, reporter)
    try:
        return reading.normalised(load_cifar10(cache_dir, reporter=reporter))
    except DataError as error:
        if data == "cifar10":
            raise DataError(f"{error}; --data-dir takes a copy of your own") from error
        reporter.say(f"using the built-in digits: {error}")
        digits = load_digits(seed)
        return reading.normalised(replace(digits, source=f"{digits.source}; chosen because {error}"))


@dataclass(frozen=True)
class Reading:
    """How images are read, whatever their source.

    Attributes:
        test_share: split off a folder that has no test images.
        fit: how photographs are brought to one size.
        given: normalisation, where it is known.
    """

    test_share: float
    fit: Fit | None
    given: Given | None

    @classmethod
    def of(
        cls, test_share: float, image_size: int | None, resize: int | None, mean: object, std: object, normalise: Any
    ) -> Reading:
        """From options, see ``load_data``.

        Raises:
            OptionError: one of them cannot be used.
        """
        if not isinstance(test_share, (int, float)) or not 0 < test_share < 1:
            raise OptionError(f"test_share must be above 0 and below 1, got {test_share}")
        return cls(test_share, Fit.of(image_size, resize), given_normalisation(mean, std, normalise))

    def normalised(self, data: ImageData) -> ImageData:
        """A data set that came with a normalisation, with the one that is given."""
        if self.given is None:
            return data
        mean, std = self.given.spread(data.image_shape[0])
        line = normalisation_line(mean, std, f"given as {self.given.how}")
        return replace(data.with_normalisation(mean, std), notes=(*data.notes, line))


def _from_dir(data: str, data_dir: Path, reading: Reading, seed: int, cache_dir: Path, reporter: Reporter) -> ImageData:
    try:
        root = find_root(data_dir)
        if root is not None:
            if reading.fit is not None:
                raise OptionError(f"image-size is for folders of photographs, {data_dir} is CIFAR-10: leave it out")
            return reading.normalised(read_root(root))
        found = load_folder(
            data_dir,
            test_share=reading.test_share,
            seed=seed,
            cache_dir=cache_dir,
            reporter=reporter,
            fit=reading.fit,
            given=reading.given,
        )
    except OSError as error:
        raise DataError(f"cannot read {data_dir}: {error}") from error
    if data == "cifar10" and found.name != "cifar10":
        expected = ", ".join(CIFAR10_CLASSES)
        raise DataError(
            f"{data_dir} is not CIFAR-10: it has {len(found.classes)} classes of {found.image_shape} images, "
            f"expected 32x32 images of {expected}"
        )
    return found
