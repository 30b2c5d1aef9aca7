"""Photographs of any size: listed at once, decoded when somebody looks at them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gaprune.data.cache import STATE_DIGITS, place_of
from gaprune.data.decode import Unreadable, decode_one, decoded, threads
from gaprune.data.fit import Fit
from gaprune.data.images import ImageSet
from gaprune.data.lazy import Indices, LazyImages
from gaprune.data.listing import ImageFile
from gaprune.data.store import StoredImages, forget_images, read_images, write_images
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

_LOGGER = logging.getLogger(__name__)

VERSION = 1
"""Of how photographs become pixels; in the name of every file of the cache."""

PHOTOS = "photos"
"""Folder of the cache: by folder of photographs the pixels that were made of some of them."""

AHEAD = 2
"""Batches that are decoded while a network learns from another."""

GREY = 128
"""Every channel of a photograph that cannot be read, in a batch whose images are counted already."""

_MOST_WAITING = 1 << 26
_CHANNELS = 3


class Photographs(LazyImages):
    """Photographs of a folder, brought to one size.

    Args:
        root: the folder that names are relative to.
        files: all photographs that there are.
        fit: how they are brought to size.
        places: (N,) which of the files; all by default.
    """

    def __init__(self, root: Path, files: Sequence[ImageFile], fit: Fit, places: Indices | None = None) -> None:
        self.root, self.files, self.fit = root, files, fit
        places = np.arange(len(files)) if places is None else places
        super().__init__(places, (_CHANNELS, fit.crop, fit.crop))

    def read(self, places: Indices) -> Tensor:
        """See ``LazyImages``: decoded now, the centre of each."""
        return self._read(places, [self.fit.centred] * len(places))

    def _read(self, places: Indices, ways: Sequence[Callable[[Image.Image], NDArray[np.uint8]]]) -> Tensor:
        names = [self.files[place].name for place in places]
        with ThreadPoolExecutor(threads(), thread_name_prefix="decode") as pool:
            found = list(pool.map(lambda name, way: decode_one(self.root / name, way), names, ways))
        return self._batch(names, found)

    def _batch(self, names: Sequence[str], found: Sequence[NDArray[np.uint8] | Unreadable]) -> Tensor:
        batch = torch.full((len(found), *self.image_shape), GREY, dtype=torch.uint8)
        for row, name, one in zip(batch, names, found, strict=True):
            if isinstance(one, Unreadable):
                _LOGGER.warning("%s cannot be read and is shown as a grey image: %s", self.root / name, one.reason)
            else:
                row.copy_(torch.from_numpy(one).permute(2, 0, 1))
        return batch

    def digest(self) -> str:
        """See ``LazyImages``: of names, sizes in bytes and labels, wherever the folder lies."""
        return self._hash(lambda file: [file.name, file.size, file.label])

    def _hash(self, facts: Callable[[ImageFile], list[Any]]) -> str:
        made = [VERSION, self.fit.crop, self.fit.resize, [facts(self.files[place]) for place in self.places]]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()

    def stored(self, cache_dir: Path, reporter: Reporter = SILENT) -> tuple[LazyImages | Tensor, Tensor, list[str]]:
        """Decode all of them, or find them in the cache as they are now.

        Args:
            cache_dir: where decoded images are kept; where it cannot be written they stay in memory.
            reporter: shows the progress.

        Returns:
            The images that could be read; (n,) int64 which of these they are; the others, each with its reason.

        Raises:
            DataError: none can be read.
        """
        state = self._hash(lambda file: [file.name, file.size, file.modified])
        path = cache_dir / PHOTOS / place_of(self.root) / f"{state[:STATE_DIGITS]}.npy"
        kept = read_images(path)
        if kept is None:
            meta: dict[str, Any] = {"kept": [], "skipped": [], "lasting": True}
            try:
                write_images(path, self._decode(meta, reporter), self.image_shape, meta)
            except OSError as error:
                _LOGGER.warning("decoded images are not kept for the next time: %s", error)
                return self._in_memory(reporter)
            kept = StoredImages(path), meta
            if not meta["lasting"]:
                forget_images(path)
        images, meta = kept
        self._check(meta)
        return images, torch.tensor(meta["kept"]), meta["skipped"]

    def _in_memory(self, reporter: Reporter) -> tuple[Tensor, Tensor, list[str]]:
        meta: dict[str, Any] = {"kept": [], "skipped": [], "lasting": True}
        images = [torch.from_numpy(image) for image in self._decode(meta, reporter)]
        self._check(meta)
        return torch.stack(images), torch.tensor(meta["kept"]), meta["skipped"]

    def _check(self, meta: dict[str, Any]) -> None:
        if not meta["kept"]:
            raise DataError(f"no readable image among {len(self)} in {self.root}, for example {meta['skipped'][0]}")

    def _decode(self, meta: dict[str, Any], reporter: Reporter) -> Iterator[NDArray[np.uint8]]:
        """(C, H, W) each; ``meta`` is told which they are."""
        names = [self.files[place].name for place in self.places]
        chunk = max(threads(), min(256, _MOST_WAITING // int(np.prod(self.image_shape))))
        with reporter.task(f"decoding photographs to {self.fit}", len(names)) as task:
            for index, one in enumerate(decoded(self.root, names, self.fit.centred, task, chunk)):
                if isinstance(one, Unreadable):
                    meta["skipped"].append(f"{names[index]} ({one.reason})")
                    meta["lasting"] &= one.lasting
                else:
                    meta["kept"].append(index)
                    yield one.transpose(2, 0, 1)


class _Crops(LazyImages):
    """Random parts of photographs in the order that an epoch goes through them, some batches ahead.

    Args:
        photographs: of which set.
        chunks: (n,) indices into the set, batch by batch.
        seed: of the epoch; with a photograph's place it decides its part, whoever decodes it when.
        pool: that decodes.
    """

    def __init__(self, photographs: Photographs, chunks: Sequence[Tensor], seed: int, pool: ThreadPoolExecutor) -> None:
        super().__init__(photographs.places, photographs.image_shape, photographs.device)
        self._photographs, self._seed, self._pool = photographs, seed, pool
        self._coming = iter([self._taken(chunk) for chunk in chunks])
        self._ready: deque[tuple[Indices, list[Future[NDArray[np.uint8] | Unreadable]]]] = deque()
        for _ in range(AHEAD):
            self._begin()

    def _begin(self) -> None:
        places = next(self._coming, None)
        if places is not None:
            self._ready.append((places, [self._pool.submit(self._one, int(place)) for place in places]))

    def _one(self, place: int) -> NDArray[np.uint8] | Unreadable:
        photographs, rng = self._photographs, np.random.default_rng([self._seed, place])
        name = photographs.files[place].name
        return decode_one(photographs.root / name, lambda image: photographs.fit.random(image, rng))

    def read(self, places: Indices) -> Tensor:
        """See ``LazyImages``; the batches come in their order, each once."""
        expected, coming = self._ready.popleft()
        assert np.array_equal(expected, places), "batches are taken in the order that was announced"
        self._begin()
        names = [self._photographs.files[place].name for place in places]
        return self._photographs._batch(names, [one.result() for one in coming])

    def digest(self) -> None:
        """See ``LazyImages``."""
        return


@contextmanager
def epoch_of(train: ImageSet, chunks: Sequence[Tensor], seed: int) -> Iterator[ImageSet]:
    """The set as one epoch sees it: of photographs random parts, decoded while the network learns; else as it is.

    Args:
        train: the images to learn from.
        chunks: (n,) indices into it, batch by batch, in the order in which they will be asked for.
        seed: of the epoch.
    """
    if not isinstance(train.images, Photographs):
        yield train
        return
    pool = ThreadPoolExecutor(threads(), thread_name_prefix="decode")
    try:
        yield ImageSet(_Crops(train.images, chunks, seed, pool), train.labels)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def stored(images: ImageSet, cache_dir: Path, reporter: Reporter = SILENT) -> tuple[ImageSet, tuple[str, ...]]:
    """A set whose photographs are decoded, and those that could not be, each with its reason; others as they are."""
    if not isinstance(images.images, Photographs):
        return images, ()
    pixels, kept, skipped = images.images.stored(cache_dir, reporter)
    return ImageSet(pixels, images.labels[kept.to(images.labels.device)]), tuple(skipped)
