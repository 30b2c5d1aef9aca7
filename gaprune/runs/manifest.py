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

PACKAGES = ("torch", "torchvision", "deap", "fvcore", "moocore", "numpy", "ray", "safetensors")
EXTRAS = ("accelerate", "onnx", "onnxruntime", "tensorly", "tokenizers", "transformers")
"""Packages of the extras, told where they are installed."""

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "amx_int8": "AMX",
}
"""By the kernel's name, the instruction sets that decide which kernels torch and ONNX Runtime choose on x86."""


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
        "cpu_instructions": _instructions(),
        "cpu_count": _usable_cpus(),
        "cuda_devices": list(cuda_devices),
    }


def processor() -> str:
    """The CPU that times belong to, and its instruction sets: ``AMD EPYC 7713 (AVX2)``."""
    found = _instructions()
    return f"{_cpu_model()} ({', '.join(found)})" if found else _cpu_model()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def _instructions() -> list[str]:
    flags = _cpu_entry("flags").split()
    return list(dict.fromkeys(name for flag, name in INSTRUCTIONS.items() if flag in flags))


def _cpu_entry(name: str) -> str:
    """What Linux says of the first CPU; empty elsewhere."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name) and ":" in line), "")


def _usable_cpus() -> int:
    """The CPUs that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
