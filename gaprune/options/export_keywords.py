"""Keyword arguments of ``gaprune.export``, written by ``python docs/generate.py`` from the options."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from gaprune.options.choices import Format, Integers, LogLevel


class ExportKeywords(TypedDict, total=False):
    """Options of ``gaprune.export``, by name."""

    pick: str
    row: str | None
    format: Format
    output: Path | str | None
    with_preprocessing: bool
    quantize: Integers | None
    opset: int | None
    data_dir: Path | str | None
    cache_dir: Path | str | None
    threads: int | None
    trust: bool
    quiet: bool
    log_level: LogLevel
