"""What Ray has no public call for: every use of its private modules, and what happens where a version lacks them.

Each function does nothing, or says no, where Ray has moved the name that it uses: a search goes on, with more lines or
on other addresses than wanted. ``missing`` names what has moved; a test holds it to be nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONSTANTS, LOOPBACK = "ray._private.ray_constants", "ENABLE_RAY_CLUSTER"
WORKER, LOGS = "ray._private.worker", "_worker_logs_enabled"
STATE, GLOBAL_STATE, LIMITS = "ray._private.state", "state", "get_max_resources_from_cluster_config"


def missing() -> list[str]:
    """The private names that the installed Ray lacks, each with its module."""
    names = [(CONSTANTS, LOOPBACK), (WORKER, LOGS), (STATE, GLOBAL_STATE)]
    lacking = [f"{module}.{name}" for module, name in names if not hasattr(_module(module), name)]
    if not lacking and not hasattr(getattr(_module(STATE), GLOBAL_STATE), LIMITS):
        lacking.append(f"{STATE}.{GLOBAL_STATE}.{LIMITS}")
    return lacking


def may_grow() -> bool:
    """Whether an autoscaler has told the cluster of node types that it could start."""
    try:
        return bool(getattr(getattr(_module(STATE), GLOBAL_STATE), LIMITS)())
    except Exception:  # without an autoscaler, or in another version of Ray, whatever it raises: no
        return False


@contextmanager
def loopback_only(wanted: bool) -> Iterator[None]:
    """Let a Ray that is started listen on 127.0.0.1 alone: on other addresses anybody could have it run code.

    Ray does so by itself on Windows and macOS; it has no argument for it, and turns 127.0.0.1 into another address.
    """
    constants = _module(CONSTANTS)
    before = getattr(constants, LOOPBACK, None)
    if not wanted or before is None:
        yield
        return
    setattr(constants, LOOPBACK, False)
    try:
        yield
    finally:
        setattr(constants, LOOPBACK, before)


def print_workers(on: bool) -> None:
    """Whether Ray prints what happens to workers, many lines each; the search says it in one."""
    worker = _module(WORKER)
    if hasattr(worker, LOGS):
        setattr(worker, LOGS, on)


def _module(name: str) -> Any:
    """The module, or None where Ray has none of that name."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
