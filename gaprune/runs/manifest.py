"""What a run was made with: enough to repeat it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gaprune import __version__

PACKAGES = ("torch", "torchvision", "deap", "fvcore", "numpy", "ray", "safetensors")
EXTRAS = ("accelerate", "onnx", "onnxruntime", "tensorly", "tokenizers", "transformers")
"""Packages of the extras, told where they are installed."""


def environment(cuda_devices: Sequence[str] = ()) -> dict[str, Any]:
    """Versions, hardware and date, as JSON values.

    Args:
        cuda_devices: their names, as torch gives them; this package does not ask torch.
    """
    versions = {name: _version(name) for name in (*PACKAGES, *EXTRAS)}
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {
            "gaprune": __version__,
            "python": platform.python_version(),
            **{name: version for name, version in versions.items() if version is not None or name not in EXTRAS},
        },
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cpu_count": _usable_cpus(),
        "cuda_devices": list(cuda_devices),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _usable_cpus() -> int:
    """The CPUs that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
