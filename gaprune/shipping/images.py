"""The images that a run or a comparison knew, read again: those that calibrate, and those that report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gaprune.data import ImageData, Splits
from gaprune.errors import RunError
from gaprune.options import SearchOptions, options_from_record, with_known_data
from gaprune.progress import Reporter
from gaprune.session import in_hand, load_images, split_images
from gaprune.training import digest_images

OF_THE_DATA = (
    *("model", "stem", "checkpoint", "head", "data", "data_dir", "test_share", "image_size", "resize"),
    *("mean", "std", "normalise", "search_size", "calibration_size", "statistics_size", "seed"),
)
"""Options that decide which images there are and who may look at which."""


def known_images(
    manifest: dict[str, Any],
    reporter: Reporter,
    data: ImageData | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> Splits:
    """The images of a run or a comparison, divided as it divided them, on the CPU.

    Args:
        manifest: of it.
        reporter: told what is read.
        data: where they were given as an object.
        data_dir: where they lie by now.
        cache_dir: where data are kept by now.

    Raises:
        DataError: they are not there.
        RunError: they are not those of the run.
    """
    record = with_known_data(dict(manifest.get("options", {})), manifest)
    options = options_from_record(SearchOptions, {name: record[name] for name in OF_THE_DATA if name in record})
    anew = {"data_dir": data_dir, "cache_dir": cache_dir}
    options = options.but(**{name: value for name, value in anew.items() if value is not None})
    read = load_images(options, reporter, data)
    source = manifest.get("data", {}).get("splits", {}).get("search_from")
    drawn = split_images(options, read, data is not None, reporter, source)
    splits, _ = in_hand(drawn, options.run.cache_dir, torch.device("cpu"), reporter)
    before = manifest.get("identity", {}).get("test")
    if before is not None and before != digest_images(splits.test):
        raise RunError(f"the test images of {read.name} are others than when the run was made: give --data-dir")
    return splits
