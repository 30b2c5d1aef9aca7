"""Image folders: ``train/<class>/*`` and, if there is one, ``test/<class>/*``."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaprune.data.arrays import assemble
from gaprune.data.cache import fetch, store
from gaprune.data.decode import decode
from gaprune.data.images import ImageData, ImageSet
from gaprune.data.listing import ImageFile, class_names, fingerprint, list_files
from gaprune.data.names import CIFAR10, is_cifar10, own_name
from gaprune.data.stratify import complement, drawable, stratified
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

_LOGGER = logging.getLogger(__name__)
_NAMED = 3


@dataclass(frozen=True)
class _Images:
    """The decoded files of a folder; ``in_test`` is (N,) bool."""

    whole: ImageSet
    in_test: Tensor
    skipped: tuple[str, ...]

    def part(self, in_test: bool) -> ImageSet:
        return self.whole.select((self.in_test == in_test).nonzero().squeeze(1))


def load_folder(
    root: Path,
    *,
    test_share: float = 0.2,
    seed: int = 0,
    cache_dir: Path,
    reporter: Reporter = SILENT,
) -> ImageData:
    """Read an image folder, decoding it once and keeping the pixels in the cache.

    Files with another suffix than that of an image are passed over; an image that cannot be decoded is
    skipped and named in ``ImageData.skipped``. All images are held in memory.

    Args:
        root: folder with ``train/`` and perhaps ``test/``, one sub-folder a class.
        test_share: without ``test/``, the share of the images that is split off to report on.
        seed: decides which images those are.
        cache_dir: where decoded images are kept.
        reporter: told of progress and skipped files.

    Raises:
        DataError: the folder is missing, empty, has fewer than two classes, a class in ``test/`` that is not
            in ``train/``, or images of different sizes.
    """
    classes = class_names(root)
    files = list_files(root, classes)
    images = _read(root, classes, files, cache_dir, reporter)
    if images.skipped:
        named = "; ".join(images.skipped[:_NAMED]) + ("; ..." if len(images.skipped) > _NAMED else "")
        reporter.say(f"skipped {len(images.skipped)} unreadable of {len(files)} images: {named}")
    train, test = images.part(False), images.part(True)
    note = ""
    if not any(file.part == "test" for file in files):
        train, test = _split_off(root, train, test_share, seed)
        note = f", {test_share:.0%} of its images split off as test images (stratified, seed {seed})"
        reporter.say(f"{root} has no test/: {len(test):,} images ({test_share:.0%}) are split off to report on")
    _check_classes(root, classes, train, test)
    name, source = _describe(root, classes, files, images.whole.images)
    return assemble(name, source + note, classes, train, test, skipped=images.skipped)


def _describe(root: Path, classes: tuple[str, ...], files: Sequence[ImageFile], images: Tensor) -> tuple[str, str]:
    """Name and source. A CIFAR-10 copy says how its pixels were saved, which moves accuracies."""
    kinds = ", ".join(sorted({Path(file.name).suffix.lower() for file in files}))
    if is_cifar10(classes, images.shape):
        return CIFAR10, f"CIFAR-10 as an image folder copy ({kinds} files) in {root}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.resolve().name).strip("-.") or "images"
    return own_name(name, "folder", classes, images.shape), f"image folder ({kinds} files) {root}"


def _check_classes(root: Path, classes: tuple[str, ...], train: ImageSet, test: ImageSet) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes))
    if (empty := (counts == 0).nonzero().flatten().tolist()) != []:
        raise DataError(f"class {classes[empty[0]]!r} has no readable image in {root / 'train'}")
    if not len(test):
        raise DataError(f"no readable image in {root / 'test'}")


def _split_off(root: Path, whole: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    size = max(1, round(len(whole) * share))
    if size > drawable(whole.labels, leave=1):
        raise DataError(
            f"{root} has no test/, and its {len(whole)} images are too few to split off {share:.0%}: add one"
        )
    test = stratified(whole.labels, size, purpose="test", seed=seed, leave=1)
    return whole.select(complement(test, len(whole))), whole.select(test)


def _read(
    root: Path, classes: tuple[str, ...], files: Sequence[ImageFile], cache_dir: Path, reporter: Reporter
) -> _Images:
    """The decoded files, from the cache if it has them as they are now.

    One cache file a folder, overwritten when the folder changes, so that old copies do not pile up.
    """
    resolved = root.resolve()
    place = hashlib.sha256(str(resolved).encode()).hexdigest()[:16]
    path = cache_dir / "folders" / f"{place}.safetensors"
    state = fingerprint(classes, files)
    cached = fetch(path)
    if cached is not None and cached[1].get("fingerprint") == state:
        tensors, meta = cached
        images = ImageSet(tensors["images"], tensors["labels"])
        return _Images(images, tensors["in_test"], tuple(meta["skipped"]))
    decoded = decode(root, [file.name for file in files], reporter=reporter)
    labels = torch.tensor([file.label for file in files])[decoded.kept]
    in_test = torch.tensor([file.part == "test" for file in files])[decoded.kept]
    skipped = tuple(f"{files[index].name} ({why.reason})" for index, why in decoded.unreadable.items())
    if all(why.lasting for why in decoded.unreadable.values()):
        tensors = {"images": decoded.images, "labels": labels, "in_test": in_test}
        _keep(path, tensors, {"fingerprint": state, "folder": str(resolved), "skipped": skipped})
    return _Images(ImageSet(decoded.images, labels), in_test, skipped)


def _keep(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    try:
        store(path, tensors, meta)
    except OSError as error:
        _LOGGER.warning("decoded images are not kept for the next time: %s", error)
