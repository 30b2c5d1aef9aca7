"""From what a user asks for to a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gaprune.choices import Data, names
from gaprune.data.cache import default_cache_dir
from gaprune.data.cifar10 import find_root, load_cifar10, read_root
from gaprune.data.digits import load_digits
from gaprune.data.folder import load_folder
from gaprune.data.images import ImageData
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.errors import DataError, OptionError, choice_error
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
) -> ImageData:
    """Load a data set by name or from a folder.

    Args:
        data: ``auto`` takes ``data_dir`` if given, else CIFAR-10 if it is cached or can be downloaded, else
            the built-in digits, after a line that says why; ``cifar10`` insists on CIFAR-10, from
            ``data_dir`` if given; ``digits`` is the built-in set.
        data_dir: a torchvision CIFAR-10 root or an image folder ``train/<class>/*``, ``test/<class>/*``.
        test_share: share of an image folder without ``test/`` that is split off to report on, 0 to 1.
        seed: decides which images are split off, there and among the digits.
        cache_dir: where downloads and decoded images are kept; ``default_cache_dir()`` by default.
        reporter: told of progress and of anything out of the ordinary.

    Raises:
        OptionError: an unknown name, a ``test_share`` outside 0 to 1, or ``data_dir`` with ``digits``.
        DataError: the data set is missing, damaged, empty, or not CIFAR-10 where that was asked for.
    """
    if data not in data_names():
        raise choice_error("data", data, data_names())
    if not 0 < test_share < 1:
        raise OptionError(f"test_share must be above 0 and below 1, got {test_share}")
    cache_dir = default_cache_dir() if cache_dir is None else Path(cache_dir)
    if data == "digits":
        if data_dir is not None:
            raise OptionError(f"data 'digits' is built in and takes no data_dir, got {data_dir}")
        return load_digits(seed)
    if data_dir is not None:
        return _from_dir(data, Path(data_dir), test_share, seed, cache_dir, reporter)
    try:
        return load_cifar10(cache_dir, reporter=reporter)
    except DataError as error:
        if data == "cifar10":
            raise DataError(f"{error}; --data-dir takes a copy of your own") from error
        reporter.say(f"using the built-in digits: {error}")
        digits = load_digits(seed)
        return replace(digits, source=f"{digits.source}; chosen because {error}")


def _from_dir(
    data: str, data_dir: Path, test_share: float, seed: int, cache_dir: Path, reporter: Reporter
) -> ImageData:
    try:
        root = find_root(data_dir)
        if root is not None:
            return read_root(root)
        found = load_folder(data_dir, test_share=test_share, seed=seed, cache_dir=cache_dir, reporter=reporter)
    except OSError as error:
        raise DataError(f"cannot read {data_dir}: {error}") from error
    if data == "cifar10" and found.name != "cifar10":
        expected = ", ".join(CIFAR10_CLASSES)
        raise DataError(
            f"{data_dir} is not CIFAR-10: it has {len(found.classes)} classes of {found.image_shape} images, "
            f"expected 32x32 images of {expected}"
        )
    return found
