"""Image files to one uint8 tensor, several at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

_CHUNK = 256
_THREADS = 8


@dataclass(frozen=True)
class Unreadable:
    """A file that gave no image.

    Attributes:
        reason: what the decoder said.
        lasting: whether the file's content is at fault, rather than the permission or device to read it.
    """

    reason: str
    lasting: bool


@dataclass(frozen=True)
class Decoded:
    """The images of some files.

    Attributes:
        images: (n, 3, H, W) uint8, in the order of the files.
        kept: (n,) int64, which of the files they are.
        unreadable: the other files, by index.
    """

    images: Tensor
    kept: Tensor
    unreadable: dict[int, Unreadable]


def decode(root: Path, files: Sequence[str], *, reporter: Reporter = SILENT) -> Decoded:
    """Decode image files, all of one size; grey and palette images become RGB.

    Args:
        root: the folder that the file names are relative to.
        files: their names.
        reporter: shows the progress.

    Raises:
        DataError: no file is readable, or two differ in size.
    """
    images: Tensor | None = None
    first = ""
    kept: list[int] = []
    unreadable: dict[int, Unreadable] = {}
    for index, result in enumerate(_decode_all(root, files, reporter)):
        if isinstance(result, Unreadable):
            unreadable[index] = result
            continue
        if images is None:
            first, images = files[index], torch.empty((len(files), 3, *result.shape[:2]), dtype=torch.uint8)
        if images.shape[2:] != result.shape[:2]:
            raise DataError(
                f"{root / files[index]} has {_size(result.shape[:2])} pixels, expected "
                f"{_size(images.shape[2:])} like {first}: give all images one size"
            )
        images[len(kept)] = torch.from_numpy(result).permute(2, 0, 1)
        kept.append(index)
    if images is None:
        reason = f", for example {files[0]}: {unreadable[0].reason}" if unreadable else ""
        raise DataError(f"no readable image among the {len(files)} files in {root}{reason}")
    return Decoded(images[: len(kept)].clone(), torch.tensor(kept), unreadable)


def _decode_all(root: Path, files: Sequence[str], reporter: Reporter) -> Iterator[NDArray[np.uint8] | Unreadable]:
    """Results in order; a chunk at a time, so that few decoded images wait in memory."""
    threads = min(_THREADS, os.cpu_count() or 1)
    with (
        reporter.task("decoding images", len(files)) as task,
        ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool,
    ):
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            yield from pool.map(lambda name: _decode_one(root / name), chunk)
            task.advance(len(chunk))


def _decode_one(path: Path) -> NDArray[np.uint8] | Unreadable:
    """(H, W, 3) pixels of one file."""
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;"):
                return Unreadable(f"pixels of mode {image.mode}, only 8 bits per channel are read", lasting=True)
            return np.array(image.convert("RGB"))
    except Exception as error:  # damaged files make Pillow's decoders raise nearly anything
        lasting = not isinstance(error, OSError) or error.errno is None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # Pillow's message repeats the path, which the caller names already.
        reason = reason.replace(f" {str(path)!r}", "") or type(error).__name__
        return Unreadable(reason.splitlines()[0], lasting)


def _size(height_width: Sequence[int]) -> str:
    return f"{height_width[1]}x{height_width[0]}"
