"""Keyword arguments of ``gaprune.search``, written by ``python docs/generate.py`` from the options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from gaprune.options.choices import (
    Algorithm,
    Backend,
    Compensation,
    Device,
    Fitness,
    Genes,
    Importance,
    LatencyFrom,
    LatencyRuntime,
    Layers,
    Log,
    LogLevel,
    Normalise,
    Precision,
    Recalibration,
    SearchFrom,
    Stem,
    Tested,
)


class SearchKeywords(TypedDict, total=False):
    """Options of ``gaprune.search``, by name."""

    stem: Stem
    checkpoint: Path | str | None
    head: str | None
    yes: bool
    data_dir: Path | str | None
    test_share: float
    search_from: SearchFrom
    search_size: int | None
    calibration_size: int
    statistics_size: int | None
    image_size: int | None
    resize: int | None
    mean: Sequence[float] | float | None
    std: Sequence[float] | float | None
    normalise: Normalise | None
    genes: Genes
    layers: Layers
    connection_groups: int
    round_to: int | None
    importance: Importance
    compensation: Compensation
    recalibration: Recalibration
    polish: bool
    polish_below: float | None
    recover: float | str | None
    fitness: Fitness
    fitness_temperature: float
    precision: Precision
    racing: float
    max_flops: float | str | None
    max_params: float | str | None
    max_size: float | str | None
    min_accuracy: float | str | None
    max_latency: str | None
    latency_runtime: LatencyRuntime | None
    latency_batch: int
    latency_from: LatencyFrom
    latency_threads: int | None
    algorithm: Algorithm
    population: int
    generations: int
    seed: int
    iterations: int
    iteration_share: float
    iteration_epochs: int
    epoch_images: int | None
    rounds: int
    round_generations: int
    round_share: Sequence[float] | float
    round_epochs: int
    selected: int
    cut: float
    mutation_rate: float
    device: Device
    threads: int | None
    threads_per_worker: int | None
    batch_size: int
    backend: Backend
    ray_address: str | None
    workers: int | None
    gpus_per_worker: float | None
    max_retries: int
    isolate: bool
    candidate_timeout: float | str | None
    pick: str
    tested: Tested
    output: Path | str | None
    resume: Path | str | None
    trust: bool
    cache_dir: Path | str | None
    log: Log
    quiet: bool
    log_level: LogLevel
    all: bool
