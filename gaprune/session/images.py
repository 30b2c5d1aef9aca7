"""The images of a session: read, divided, brought to the device, and normalised as the network needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from gaprune.baseline import Baseline, fits_split, held_out_size
from gaprune.data import (
    ImageData,
    Photographs,
    Reading,
    SearchFrom,
    Splits,
    UnlikeSizesError,
    default_cache_dir,
    load_data,
    normalisation_line,
    pool,
    say_skipped,
    split,
    stored,
)
from gaprune.models import of_model, shipped_weights, stem_of, trained_on
from gaprune.options import SearchOptions
from gaprune.progress import Reporter
from gaprune.session.engine import statistics_images

MOST_HELD_OUT = 2000
"""Images of a search set that has a part of its own, unless told otherwise."""

IN_MEMORY = {"cpu": 1 << 28, "cuda": 1 << 32}
"""Bytes of decoded photographs that a set may hold in memory, by device; a larger one is read from disk in batches."""


def reading(options: SearchOptions) -> Reading:
    """How images are read.

    Raises:
        OptionError: an option cannot be used, or not together with another.
    """
    asked = options.reading
    return Reading.of(options.images.test_share, asked.image_size, asked.resize, asked.mean, asked.std, asked.normalise)


def load_images(
    options: SearchOptions, reporter: Reporter, own: ImageData | None = None, *, counted: bool = True
) -> ImageData:
    """The data set that the options name, or the caller's ``own``; what is to be known of it is said.

    Args:
        options: what to read and how.
        reporter: told of it.
        own: the caller's.
        counted: whether a line says what was read and how many images there are.
    """
    if own is not None:
        data = reading(options).normalised(own)
    else:
        try:
            data = _named(options, reporter)
        except UnlikeSizesError as error:
            told = trained_on(options.network.model)
            if told is None or told.crop is None:
                raise
            resize = "" if told.resize in (None, told.crop) else f" --resize {told.resize}"
            advice = f"by --image-size {told.crop}{resize}, which {told.source} says"
            raise UnlikeSizesError(error.told, advice) from error
        if counted:
            reporter.say(f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images")
    for note in data.notes:
        reporter.say(note)
    return data


def _named(options: SearchOptions, reporter: Reporter) -> ImageData:
    images, asked = options.images, options.reading
    return load_data(
        images.data,
        data_dir=images.data_dir,
        test_share=images.test_share,
        seed=options.evolution.seed,
        cache_dir=options.run.cache_dir,
        reporter=reporter,
        image_size=asked.image_size,
        resize=asked.resize,
        mean=asked.mean,
        std=asked.std,
        normalise=asked.normalise,
    )


def split_images(
    options: SearchOptions, data: ImageData, own_model: bool, reporter: Reporter, recorded: str | None = None
) -> Splits:
    """Who may look at which image; a search set for weights that may have seen it comes from the test images.

    Args:
        options: what was asked for.
        data: the images.
        own_model: whether the network is the caller's.
        reporter: told why, where that is not plain.
        recorded: what ``auto`` was for the run that goes on.
    """
    asked = recorded if options.images.search_from == "auto" else options.images.search_from
    if asked is None and data.validation is not None:
        asked = "validation"
    if asked is not None:
        return _split(options, data, asked)
    found = _split(options, data, "train")
    if own_model or options.network.checkpoint is not None:
        return found
    stem = stem_of(options.network.model, options.network.stem)
    shipped = shipped_weights(options.network.model, stem, data.classes, data.image_shape)
    if shipped is None or (not shipped.saw_all_training_images and fits_split(shipped, found.train)):
        return found
    seen = (
        "have seen all training images" if shipped.saw_all_training_images else "were trained on another split or copy"
    )
    reporter.say(f"the shipped weights {seen}: searching on test images")
    return _split(options, data, "test")


def _split(options: SearchOptions, data: ImageData, source: str) -> Splits:
    size = options.images.search_size if options.images.search_size is not None else search_size(data, source)
    rest = len(data.train) - (size if source == "train" else 0)
    return split(
        data,
        search_from=cast(SearchFrom, source),
        search_size=size,
        calibration_size=min(max(options.images.calibration_size, statistics_images(options)), rest),
        seed=options.evolution.seed,
    )


def search_size(data: ImageData, source: str) -> int:
    """Images of a search set when nobody says: a fifth of the training images, or all of a part of its own."""
    held_out_of = pool(data, source)
    if source == "validation":
        return min(MOST_HELD_OUT, len(held_out_of))
    return min(held_out_size(data), len(held_out_of) // 2)


def in_hand(
    splits: Splits, cache_dir: Path | None, device: torch.device, reporter: Reporter
) -> tuple[Splits, tuple[str, ...]]:
    """The parts that a search looks at, on the device; photographs are decoded now, those to train on stay files.

    Args:
        splits: as they were drawn.
        cache_dir: where decoded photographs are kept.
        device: where networks run.
        reporter: told of progress and of photographs that cannot be read.

    Returns:
        The parts, and the photographs that are not among them because they cannot be read.
    """
    moved: dict[str, Any] = {}
    skipped: list[str] = []
    for part in ("search", "calibration", "test"):
        images = getattr(splits, part)
        found, unreadable = stored(images, cache_dir or default_cache_dir(), reporter)
        skipped += [name for name in unreadable if name not in skipped]
        held = part == "search" or found.bytes <= IN_MEMORY.get(device.type, 0)
        moved[part] = (found.loaded() if held else found).to(device)
    say_skipped(skipped, sum(map(len, moved.values())) + len(skipped), reporter)
    return replace(splits, **moved), tuple(skipped)


def normalised(data: ImageData, baseline: Baseline, reporter: Reporter) -> ImageData:
    """The data, normalised as somebody says, as the weights' file says, as the network says, or as they are.

    Args:
        data: with the normalisation that was given, or that its images have.
        baseline: the network.
        reporter: told who says so, and where two differ.
    """
    if data.normalised_by == "given":
        if baseline.own_normalisation and (baseline.mean, baseline.std) != (data.mean, data.std):
            reporter.say(normalisation_line(baseline.mean, baseline.std, "that of the weights, is overruled"))
        return data
    if baseline.own_normalisation:
        return data.with_normalisation(baseline.mean, baseline.std)
    told = of_model(baseline.model)
    if told is None or len(told.mean) != data.image_shape[0]:
        return data.with_normalisation(baseline.mean, baseline.std, data.normalised_by)
    reporter.say(normalisation_line(told.mean, told.std, f"as {told.source} says"))
    if isinstance(data.train.images, Photographs) and told.crop not in (None, data.image_shape[1]):
        reporter.say(
            f"{told.source} says {told.crop}x{told.crop} pixels, the photographs are brought to "
            f"{data.image_shape[2]}x{data.image_shape[1]}"
        )
    return data.with_normalisation(told.mean, told.std)
