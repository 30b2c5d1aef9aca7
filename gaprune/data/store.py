"""Decoded photographs on disk: one memory-mapped file of uint8 pixels, whole or absent, read batch by batch."""

from __future__ import annotations

import json
import logging
import os
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaprune.data.lazy import Indices, LazyImages
from gaprune.runs import atomic_write, json_value

_LOGGER = logging.getLogger(__name__)
_BLOCK = 1 << 24

_UNFINISHED = ".photos-"
"""Begins the name of a file that is being written."""

_ABANDONED = 24 * 3600.0
"""Seconds after which nobody writes any more to a file that has not grown."""

_AT_A_TIME = 256
"""Images that are mapped and copied at once."""

KEPT = 8
"""Files of one folder's images; of more the ones that were used longest ago go."""


class _Opened:
    """A file that is open for as long as anybody holds this."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __del__(self) -> None:
        self.file.close()


class StoredImages(LazyImages):
    """Images of an ``.npy`` file of (M, C, H, W) uint8.

    The file is mapped while a batch is copied out of it and no longer, so that what was read does not stay in memory;
    it is held open, so that nobody takes it away.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._opened = _Opened(open(path, "rb"))  # noqa: SIM115 - for as long as anybody has the images
        np.lib.format.read_magic(self._opened.file)
        self._shape, _, _ = np.lib.format.read_array_header_1_0(self._opened.file)
        self._offset = self._opened.file.tell()
        count, channels, height, width = self._shape
        super().__init__(np.arange(count), (channels, height, width))

    def read(self, places: Indices) -> Tensor:
        """See ``LazyImages``."""
        found = torch.empty((len(places), *self.image_shape), dtype=torch.uint8)
        for start in range(0, len(places), _AT_A_TIME):
            mapped = np.memmap(self._opened.file, np.uint8, "r", self._offset, self._shape)
            some = np.asarray(mapped)[places[start : start + _AT_A_TIME]]
            found[start : start + len(some)] = torch.from_numpy(some)
        return found

    def digest(self) -> None:
        """See ``LazyImages``."""
        return


def write_images(
    path: Path, images: Iterable[NDArray[np.uint8]], image_shape: tuple[int, int, int], meta: dict[str, Any]
) -> None:
    """Write images under another name, then take ``path``; what is to be told of them lies beside it, as JSON.

    Args:
        path: ends in ``.npy``.
        images: (C, H, W) each.
        image_shape: of each.
        meta: filled while the images come, and read afterwards.

    Raises:
        OSError: the folder cannot be written or is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_unfinished(path.parent)
    with suppress(FileNotFoundError):
        _beside(path).unlink()
    unfinished = path.with_name(f"{_UNFINISHED}{uuid4().hex}")  # not tempfile's, which nobody else may read
    try:
        with open(unfinished, "xb") as file:
            written, checksum = _write(file, images, image_shape)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    record = {"images": written, "bytes": path.stat().st_size, "crc32": checksum, "meta": meta}
    atomic_write(_beside(path), json.dumps(record).encode())
    _drop_old(path.parent)


def forget_images(path: Path) -> None:
    """Let what was written not be found again; who has it open keeps it."""
    _beside(path).unlink(missing_ok=True)


def _drop_unfinished(folder: Path) -> None:
    """Remove what a process left that was killed while it wrote: files of half the images, or without their record."""
    alone = (file for file in folder.glob("*.npy") if not _beside(file).exists())
    for file in [*folder.glob(f"{_UNFINISHED}*"), *alone]:
        if time.time() - _changed(file) / 1e9 > _ABANDONED:
            with suppress(OSError):  # somebody may have it open
                file.unlink()


def _changed(path: Path) -> int:
    """When, in nanoseconds; now, of what another process has just removed."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return time.time_ns()


def _drop_old(folder: Path) -> None:
    newest = sorted(folder.glob("*.json"), key=_changed, reverse=True)
    for old in newest[KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".npy").unlink(missing_ok=True)


def _write(file: IO[bytes], images: Iterable[NDArray[np.uint8]], image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Number of images and CRC-32 of their bytes. The header has room for any number, so it is written again."""
    count = checksum = 0
    _header(file, count, image_shape)
    for image in images:
        data = np.ascontiguousarray(image).data
        checksum = zlib.crc32(data, checksum)
        file.write(data)
        count += 1
    file.seek(0)
    _header(file, count, image_shape)
    file.flush()
    os.fsync(file.fileno())
    return count, checksum


def _header(file: IO[bytes], count: int, image_shape: tuple[int, int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)})


def read_images(path: Path) -> tuple[StoredImages, dict[str, Any]] | None:
    """What ``write_images`` wrote; None where there is no such file or it is damaged."""
    if not path.is_file() or not _beside(path).is_file():
        return None
    try:
        record = json_value(_beside(path).read_bytes())
        found = StoredImages(path)
        if (record["images"], record["bytes"]) == (len(found), path.stat().st_size) and (
            record["crc32"] == _checksum(path)
        ):
            with suppress(OSError):  # of a cache that others keep: it may be read all the same
                os.utime(_beside(path))
            return found, record["meta"]
        reason = "its checksum does not match"
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = str(error)
    _LOGGER.warning("the cached images in %s are damaged and are made again: %s", path, reason)
    return None


def _checksum(path: Path) -> int:
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        checksum = 0
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
