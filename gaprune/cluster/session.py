"""This process's place in Ray: a cluster joined, or a Ray of its own on this machine, listening on it alone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from gaprune.cluster import private
from gaprune.errors import BackendError, first_line

CONNECT_SECONDS = 10.0

SLACK = 1e-6
"""Against shares such as three times 0.3333."""

OWN = "local"
"""The address of a Ray of this process's own."""


@dataclass(frozen=True)
class Needs:
    """What one worker takes.

    Attributes:
        cpus: CPU cores, as many as threads.
        gpus: GPUs; several workers share one with 0.25, say.
    """

    cpus: int
    gpus: float = 0.0

    def fit(self, resources: dict[str, float]) -> int:
        """How many workers a node of these resources holds."""
        found = int(resources.get("CPU", 0.0) / self.cpus + SLACK)
        if self.gpus:
            gpus = resources.get("GPU", 0.0)
            shared = self.gpus < 1  # no worker spans two GPUs by shares
            found = min(found, int(gpus) * int(1 / self.gpus + SLACK) if shared else int(gpus / self.gpus + SLACK))
        return found

    def __str__(self) -> str:
        return f"CPU {self.cpus}" + (f", GPU {self.gpus:g}" if self.gpus else "")


@dataclass(frozen=True)
class Connection:
    """A connection to Ray.

    Attributes:
        address: of the cluster; ``local`` for one that this process has started.
        owned: whether this process has connected, and so disconnects.
    """

    address: str
    owned: bool

    def close(self) -> None:
        """Disconnect; a Ray of this process's own ends with it. Harmless when done twice."""
        import ray

        if self.owned and ray.is_initialized():
            ray.shutdown()
            private.print_workers(True)

    def capacity(self, needs: Needs) -> int:
        """How many workers the nodes that are there would hold if nothing else ran on them."""
        return sum(needs.fit(node) for node in nodes())


def connect(address: str | None, needs: Needs, workers: int | None) -> Connection:
    """Join the cluster at ``address``, or start a Ray on this machine.

    A process that is connected already stays where it is, and is not disconnected in the end.

    Args:
        address: ``host:port``; ``auto`` for the one that ``ray start`` made on this machine; ``local`` or ``None``
            starts one.
        needs: what a worker takes.
        workers: how many there shall be at most; a Ray of our own offers them CPUs even where there are fewer.

    Raises:
        BackendError: nobody answers there, it is of another version, or too small for even one worker.
    """
    address = address or OWN
    _check_reachable(address)
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        session = Connection(address, owned=False)
    else:
        own = _own_arguments(needs, workers) if address == OWN else {}
        try:
            with private.loopback_only(address == OWN), own_sigterm():
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except (RayError, OSError, RuntimeError, ValueError) as error:  # also of its temporary folder
            raise _cannot_join(address, error) from error
        session = Connection(address, owned=True)
        private.print_workers(False)
    try:
        check_room(session, needs)
    except BackendError:
        session.close()
        raise
    return session


def check_room(session: Connection, needs: Needs) -> None:
    """Raise ``BackendError`` if no node could ever hold a worker. One that an autoscaler may add counts."""
    if not session.capacity(needs) and not private.may_grow():
        raise BackendError(f"no node has room for a worker: it needs {needs}, Ray has {described()}")


def nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def described() -> str:
    """The nodes in words, largest first: ``2 nodes: CPU 4, GPU 1; CPU 8, GPU 0``."""
    found = nodes()
    sizes = sorted(((node.get("GPU", 0.0), node.get("CPU", 0.0)) for node in found), reverse=True)
    each = "; ".join(f"CPU {cpus:g}, GPU {gpus:g}" for gpus, cpus in sizes)
    return f"{len(found)} node{'s' * (len(found) != 1)}: {each}"


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does to this process: Ray would print stacks and abort."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _own_arguments(needs: Needs, workers: int | None) -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = {"num_gpus": torch.cuda.device_count()} if needs.gpus else {}  # Ray's own search may find none
    return {"num_cpus": max(usable, needs.cpus * (workers or 1)), "include_dashboard": False, **gpus}


def _check_reachable(address: str) -> None:
    """Try the port first: Ray itself takes minutes to say that nobody answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in (OWN, "auto") or not host:
        return
    if not port.isdigit():
        raise BackendError(f"ray-address must be host:port, auto or local, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _cannot_join(address, error) from error


def _cannot_join(address: str, error: Exception) -> BackendError:
    if "ersion mismatch" in str(error):
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return BackendError(f"Ray at {address} is of another version: {' '.join(lines)}")
    if address == OWN:
        advice = "; name a shorter folder by RAY_TMPDIR" if "AF_UNIX" in str(error) else ""
        return BackendError(f"cannot start Ray on this machine: {first_line(error)}{advice}")
    reason = (isinstance(error, OSError) and error.strerror) or first_line(error)
    return BackendError(f"no Ray cluster answers at {address}: {reason} (start one with: ray start --head)")
