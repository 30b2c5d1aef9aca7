"""Images in folders, ``train/<class>/*`` and what stands beside it, or listed by a CSV file."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaprune.data.arrays import assemble
from gaprune.data.cache import fetch, place_of, store
from gaprune.data.decode import decode
from gaprune.data.fit import Fit
from gaprune.data.given import Given
from gaprune.data.images import ImageData, ImageSet
from gaprune.data.lazy import LazyImages
from gaprune.data.listing import TEST, TRAIN, VALIDATION, Listing, fingerprint, list_folder
from gaprune.data.names import CIFAR10, is_cifar10, own_name
from gaprune.data.normalisation import SAMPLE
from gaprune.data.photos import Photographs, stored
from gaprune.data.stratify import complement, drawable, interleaved, stratified
from gaprune.data.table import SUFFIX, list_csv
from gaprune.errors import DataError
from gaprune.progress import SILENT, Reporter

_LOGGER = logging.getLogger(__name__)
_NAMED = 3


@dataclass(frozen=True)
class _Images:
    """The images of a listing; ``parts`` names the part of each."""

    whole: ImageSet
    parts: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def part(self, name: str) -> ImageSet:
        return self.whole.select(torch.tensor([i for i, part in enumerate(self.parts) if part == name]).long())


def load_folder(
    root: Path,
    *,
    test_share: float = 0.2,
    seed: int = 0,
    cache_dir: Path,
    reporter: Reporter = SILENT,
    fit: Fit | None = None,
    given: Given | None = None,
) -> ImageData:
    """Read an image folder or what a CSV file lists.

    Without ``fit`` all images must have one size; they are decoded once, held in memory, and kept in the cache. With
    it they are photographs of any sizes, decoded when somebody looks at them. Files with another suffix than that of
    an image are passed over; an image that cannot be decoded is skipped and named in ``ImageData.skipped``.

    Args:
        root: folder with ``train/`` and perhaps ``test/`` or ``val/``, one sub-folder a class; or a CSV file.
        test_share: without ``test/`` and ``val/``, the share of the images that is split off to report on.
        seed: decides which images those are.
        cache_dir: where decoded images are kept.
        reporter: told of progress and skipped files.
        fit: how photographs are brought to one size.
        given: normalisation, where it is known.

    Raises:
        DataError: the folder is missing, empty, has fewer than two classes, a class elsewhere that is not in
            ``train/``, or images of different sizes and no ``fit``.
    """
    listing = list_csv(root) if root.suffix.lower() == SUFFIX and root.is_file() else list_folder(root)
    images = _photographs(listing, fit) if fit is not None else _read(listing, cache_dir, reporter)
    say_skipped(images.skipped, len(listing.files), reporter)
    train, test = images.part(TRAIN), images.part(TEST)
    note = "" if fit is None else f", brought to {fit}"
    if TEST not in listing.places:
        train, test = _split_off(root, train, test_share, seed)
        note += f", {test_share:.0%} of its images split off as test images (stratified, seed {seed})"
        reporter.say(f"{root} has no test/: {len(test):,} images ({test_share:.0%}) are split off to report on")
    validation = images.part(VALIDATION) if VALIDATION in listing.places else None
    _check_classes(listing, train, test)
    name, source = _describe(listing, images.whole.images)

    def sample() -> Tensor | LazyImages:
        if fit is None:
            return train.images
        some = train.select(interleaved(train.labels, seed=0)[:SAMPLE])
        return stored(some, cache_dir, reporter)[0].images

    return assemble(
        name,
        source + note,
        listing.classes,
        train,
        test,
        skipped=images.skipped,
        validation=validation,
        given=given,
        notes=_notes(listing, fit),
        sample=sample,
    )


def say_skipped(skipped: Sequence[str], count: int, reporter: Reporter) -> None:
    """Name images that cannot be read, if there are any among ``count``."""
    if skipped:
        named = "; ".join(skipped[:_NAMED]) + ("; ..." if len(skipped) > _NAMED else "")
        reporter.say(f"skipped {len(skipped)} unreadable of {count} images: {named}")


def _notes(listing: Listing, fit: Fit | None) -> tuple[str, ...]:
    """Which part does what, where that is not plain from its name, and how photographs are brought to size."""
    notes = []
    if listing.places.get(TEST, TEST) != TEST:
        notes.append(f"{listing.where(TEST)} reports, as there is no test part")
    if VALIDATION in listing.places:
        notes.append(f"{listing.where(VALIDATION)} is what is chosen by, {listing.where(TEST)} what reports")
    if fit is not None:
        notes.append(f"photographs: short side to {fit.resize} pixels, then the centre of {fit.crop}x{fit.crop}")
    return tuple(notes)


def _describe(listing: Listing, images: Tensor | LazyImages) -> tuple[str, str]:
    """Name and source. A CIFAR-10 copy says how its pixels were saved, which moves accuracies."""
    kinds = ", ".join(sorted({Path(file.name).suffix.lower() for file in listing.files}))
    if is_cifar10(listing.classes, images.shape):
        return CIFAR10, f"CIFAR-10 as an image folder copy ({kinds} files) in {listing.called}"
    stem = listing.called.resolve().stem if listing.called != listing.root else listing.root.resolve().name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "images"
    return own_name(name, "folder", listing.classes, images.shape), f"image folder ({kinds} files) {listing.called}"


def _check_classes(listing: Listing, train: ImageSet, test: ImageSet) -> None:
    counts = torch.bincount(train.labels, minlength=len(listing.classes))
    if (empty := (counts == 0).nonzero().flatten().tolist()) != []:
        raise DataError(f"class {listing.classes[empty[0]]!r} has no readable image in {listing.where(TRAIN)}")
    if not len(test):
        raise DataError(f"no readable image in {listing.where(TEST)}")


def _split_off(root: Path, whole: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    size = max(1, round(len(whole) * share))
    if size > drawable(whole.labels, leave=1):
        raise DataError(
            f"{root} has no test/, and its {len(whole)} images are too few to split off {share:.0%}: add one"
        )
    test = stratified(whole.labels, size, purpose="test", seed=seed, leave=1)
    return whole.select(complement(test, len(whole))), whole.select(test)


def _photographs(listing: Listing, fit: Fit) -> _Images:
    labels = torch.tensor([file.label for file in listing.files])
    whole = ImageSet(Photographs(listing.root, listing.files, fit), labels)
    return _Images(whole, tuple(file.part for file in listing.files))


def _read(listing: Listing, cache_dir: Path, reporter: Reporter) -> _Images:
    """The decoded files, from the cache if it has them as they are now.

    One cache file a folder, overwritten when the folder changes, so that old copies do not pile up.
    """
    files = listing.files
    path = cache_dir / "folders" / f"{place_of(listing.called)}.safetensors"
    state = fingerprint(listing)
    cached = fetch(path)
    if cached is not None and cached[1].get("fingerprint") == state:
        tensors, meta = cached
        images = ImageSet(tensors["images"], tensors["labels"])
        return _Images(images, _parts(tensors), tuple(meta["skipped"]))
    decoded = decode(listing.root, [file.name for file in files], reporter=reporter)
    labels = torch.tensor([file.label for file in files])[decoded.kept]
    parts = tuple(files[index].part for index in decoded.kept.tolist())
    skipped = tuple(f"{files[index].name} ({why.reason})" for index, why in decoded.unreadable.items())
    if all(why.lasting for why in decoded.unreadable.values()):
        tensors = {"images": decoded.images, "labels": labels, "in_test": _among(parts, TEST)}
        if VALIDATION in listing.places:
            tensors["in_validation"] = _among(parts, VALIDATION)
        _keep(path, tensors, {"fingerprint": state, "folder": str(listing.called.resolve()), "skipped": skipped})
    return _Images(ImageSet(decoded.images, labels), parts, skipped)


def _among(parts: Sequence[str], name: str) -> Tensor:
    return torch.tensor([part == name for part in parts])


def _parts(tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """The part of each image of a cache file."""
    test = tensors["in_test"].tolist()
    between = tensors["in_validation"].tolist() if "in_validation" in tensors else [False] * len(test)
    return tuple(VALIDATION if b else TEST if t else TRAIN for t, b in zip(test, between, strict=True))


def _keep(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    try:
        store(path, tensors, meta)
    except OSError as error:
        _LOGGER.warning("decoded images are not kept for the next time: %s", error)
