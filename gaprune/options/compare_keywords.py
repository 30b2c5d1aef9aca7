"""Keyword arguments of ``gaprune.compare``, written by ``python docs/generate.py`` from the options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from gaprune.options.choices import Device, LogLevel, Normalise, SearchFrom, Stem


class CompareKeywords(TypedDict, total=False):
    """Options of ``gaprune.compare``, by name."""

    stem: Stem
    checkpoint: Path | str | None
    head: str | None
    run: Path | str | None
    data_dir: Path | str | None
    test_share: float
    search_from: SearchFrom
    search_size: int | None
    image_size: int | None
    resize: int | None
    mean: Sequence[float] | float | None
    std: Sequence[float] | float | None
    normalise: Normalise | None
    methods: Sequence[str] | None
    epochs: int
    epoch_images: int | None
    batch: int
    seed: int
    threads: int | None
    device: Device
    output: Path | str | None
    resume: Path | str | None
    trust: bool
    cache_dir: Path | str | None
    quiet: bool
    log_level: LogLevel
