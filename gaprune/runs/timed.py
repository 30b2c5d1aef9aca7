"""How a front was timed, as its manifest says, in words; without torch, for those that only show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RUNTIMES = {
    "torch": "PyTorch",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-int8": "ONNX Runtime int8",
}
"""What runs networks, by option, and what it is called in tables."""


def in_words(record: Mapping[str, Any]) -> str:
    """Conditions of a timing in words, for tables.

    Args:
        record: ``runtime``, ``batch``, ``threads``, ``device`` and ``hardware``.

    >>> in_words({"runtime": "torch", "batch": 1, "threads": 2, "device": "cpu", "hardware": "EPYC"})
    'PyTorch, batch 1, 2 threads, EPYC'
    """
    count, named = record.get("threads"), str(record.get("runtime"))
    threads = f", {count} thread{'s' * (count != 1)}" if record.get("device") == "cpu" else ""
    return f"{RUNTIMES.get(named, named)}, batch {record.get('batch')}{threads}, {record.get('hardware')}"
