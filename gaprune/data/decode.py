"""Image files to one uint8 tensor, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gaprune.data.upright import upright
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter, Task

_CHUNK = 256
_THREADS = 32

Pixels = NDArray[np.uint8]


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


class UnlikeSizesError(DataError):
    """Images are not all of one size.

    Args:
        told: which two are not.
        advice: how to bring them to one size.
    """

    def __init__(self, told: str, advice: str = "by --image-size 224 for example") -> None:
        super().__init__(f"{told}: bring all to one size, {advice}")
        self.told = told


def decode(root: Path, files: Sequence[str], *, reporter: Reporter = SILENT) -> Decoded:
    """Decode image files, all of one size; each becomes upright RGB.

    Args:
        root: the folder that the file names are relative to.
        files: their names.
        reporter: shows the progress.

    Raises:
        DataError: no file is readable.
        UnlikeSizesError: two differ in size.
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
            found, wanted = _size(result.shape[:2]), _size(images.shape[2:])
            raise UnlikeSizesError(f"{root / files[index]} has {found} pixels, expected {wanted} like {first}")
        images[len(kept)] = torch.from_numpy(result).permute(2, 0, 1)
        kept.append(index)
    if images is None:
        reason = f", for example {files[0]}: {unreadable[0].reason}" if unreadable else ""
        raise DataError(f"no readable image among the {len(files)} files in {root}{reason}")
    return Decoded(images[: len(kept)].clone(), torch.tensor(kept), unreadable)


def _decode_all(root: Path, files: Sequence[str], reporter: Reporter) -> Iterator[Pixels | Unreadable]:
    with reporter.task("decoding images", len(files)) as task:
        yield from decoded(root, files, lambda image: np.array(upright(image)), task)


def decoded(
    root: Path, files: Sequence[str], pixels: Callable[[Image.Image], Pixels], task: Task, chunk_size: int = _CHUNK
) -> Iterator[Pixels | Unreadable]:
    """What ``pixels`` makes of each file, in order; a chunk at a time, so that few images wait in memory.

    Pillow works without Python's lock, so threads are as fast as processes here and share what they read.

    Args:
        root: the folder that the file names are relative to.
        files: their names.
        pixels: from an opened image to an array.
        task: told of each chunk.
        chunk_size: files of a chunk.
    """
    with ThreadPoolExecutor(threads(), thread_name_prefix="decode") as pool:
        for start in range(0, len(files), chunk_size):
            chunk = files[start : start + chunk_size]
            yield from pool.map(lambda name: decode_one(root / name, pixels), chunk)
            task.advance(len(chunk))


def threads() -> int:
    """How many images are decoded at a time: as many as this process has processors."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_THREADS, usable)


def decode_one(path: Path, pixels: Callable[[Image.Image], Pixels]) -> Pixels | Unreadable:
    """What ``pixels`` makes of one file; the reason where it gives none."""
    try:
        with Image.open(path) as image:
            return pixels(image)
    except Exception as error:  # damaged files make Pillow's decoders raise nearly anything
        lasting = not isinstance(error, OSError) or error.errno is None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # Pillow's message repeats the path, which the caller names already.
        reason = reason.replace(f" {str(path)!r}", "") or type(error).__name__
        return Unreadable(reason.splitlines()[0], lasting)


def _size(height_width: Sequence[int]) -> str:
    return f"{height_width[1]}x{height_width[0]}"
