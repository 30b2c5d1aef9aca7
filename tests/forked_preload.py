"""What every forked process needs, imported once, by a search: tracing alone loads half of torch."""

from __future__ import annotations

import tempfile

import matplotlib.pyplot  # noqa: F401
import torch
import torch_pruning  # noqa: F401
from forked import unsynced
from tiny_factory import small_residual

import gaprune
from gaprune.progress import SILENT

torch.set_num_threads(1)
unsynced()
with tempfile.TemporaryDirectory() as folder:
    gaprune.search(
        small_residual(10),
        "digits",
        output=f"{folder}/run",
        cache_dir=f"{folder}/cache",
        search_size=10,
        statistics_size=10,
        calibration_size=10,
        population=4,
        generations=1,
        device="cpu",
        threads=1,
        reporter=SILENT,
    )
