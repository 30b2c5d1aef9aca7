"""What the steps of ``gpu.py`` work with: where things lie, and what the machine is."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import subjects
from benchmarks.running import QUICK_NETWORK, QUICK_SIZES, members_within
from gaprune.baseline import held_out_size, resolve_baseline
from gaprune.data import ImageData, load_data, split
from gaprune.device import card_names, choose_device
from gaprune.progress import Reporter
from gaprune.runs import FrontRow, environment
from gaprune.runs.files import write_json

RESULT = "result.json"

BUDGETS = (0.5, 0.2, 0.1, 0.04)
"""Shares of the FLOPs at which members are looked at."""


@dataclass(frozen=True)
class Here:
    """What a step may use.

    Attributes:
        home: folder of its results, which come back.
        work: folder that steps share, which does not.
        data_dir: CIFAR-10, as a folder.
        quick: whether everything is small.
        seconds: that its trainings may take.
        given: folder of weights that take the place of trained baselines; ``None`` trains them.
        reporter: told how it goes.
    """

    home: Path
    work: Path
    data_dir: Path | None
    quick: bool
    seconds: float
    given: Path | None
    reporter: Reporter

    @property
    def cache(self) -> Path:
        """Where decoded images are kept."""
        return self.work / "cache"

    def data(self) -> ImageData:
        """The images."""
        if self.quick:
            return load_data("digits", cache_dir=self.cache)
        return load_data("auto", data_dir=self.data_dir, cache_dir=self.cache, reporter=self.reporter)

    def network(self, name: str) -> str:
        """The name by which a network is built."""
        return QUICK_NETWORK if self.quick else name

    def weights(self, name: str) -> Path:
        """Where the step ``baseline`` has left a network's weights."""
        return self.work / f"{name}.safetensors"

    def run(self, name: str) -> Path:
        """The run directory of a network's search."""
        return self.work / f"search-{name}"

    def options(self, name: str) -> dict[str, Any]:
        """Options of a search of a network."""
        common = {"checkpoint": self.weights(name), "cache_dir": self.cache}
        if self.quick:
            small = {k: v for k, v in QUICK_SIZES.items() if k not in ("device", "threads")}
            return {"model": QUICK_NETWORK, "data": "digits", **common, **small}
        return {"model": name, "data": "auto", "data_dir": self.data_dir, **common}

    def subject(self, name: str) -> subjects.Subject:
        """A network as benchmarks have it."""
        device, data = choose_device("auto"), self.data()
        search = int(QUICK_SIZES["search_size"]) if self.quick else held_out_size(data)
        calibration = min(subjects.CALIBRATION_IMAGES, len(data.train) - search)
        parts = split(data, search_size=search, calibration_size=calibration, seed=0)
        baseline = resolve_baseline(
            self.network(name),
            "cifar",
            data,
            train=parts.train,
            validate=parts.search,
            cache_dir=self.cache,
            device=device,
            checkpoint=self.weights(name),
        )
        return subjects.made_subject(
            f"{name}-{data.name}", name, baseline, data, parts, 64 if self.quick else subjects.RECALIBRATION_IMAGES
        )

    def write(self, **result: Any) -> None:
        """Write what is known so far, with how it was made."""
        made = {"environment": environment(card_names()), "driver": driver(), "torch_cuda": torch.version.cuda}
        write_json(self.home / RESULT, made | result)


def driver() -> str | None:
    """The version of NVIDIA's driver; ``None`` where there is none."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def within(rows: Sequence[FrontRow]) -> dict[float, FrontRow | None]:
    """By budget the member that is picked for it, as the search left it."""
    rules = {budget: f"flops<={budget:g}" for budget in BUDGETS}
    found = members_within(list(rows), rules.values())
    return {budget: found[rule] for budget, rule in rules.items()}


def peak_megabytes() -> float | None:
    """The most memory of the card that this process has held at once."""
    return round(torch.cuda.max_memory_allocated() / 1e6) if torch.cuda.is_available() else None
