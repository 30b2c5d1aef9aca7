"""Keyword arguments of ``gaprune.finetune``, written by ``python docs/generate.py`` from the options."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from gaprune.options.choices import Device, LogLevel


class FinetuneKeywords(TypedDict, total=False):
    """Options of ``gaprune.finetune``, by name."""

    pick: str
    shared: bool
    polish_epochs: int
    epochs: int
    epoch_images: int | None
    distill: float
    temperature: float
    batch_size: int | None
    lr: float | None
    seed: int
    device: Device
    threads: int | None
    checkpoint: Path | str | None
    data_dir: Path | str | None
    cache_dir: Path | str | None
    trust: bool
    quiet: bool
    log_level: LogLevel
    all: bool
