"""Where candidates are evaluated, as the options and this machine say."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from gaprune.device import choose_device
from gaprune.errors import OptionError
from gaprune.options import SearchOptions

ADDRESS = "RAY_ADDRESS"
"""Ray's own variable for the cluster to join; set where a script runs as a Ray job."""

RAY_ONLY = ("workers", "gpus_per_worker", "threads_per_worker", "ray_address", "max_retries")


@dataclass(frozen=True)
class Placement:
    """Where candidates are evaluated.

    Attributes:
        ray: whether on Ray workers, or one after the other in this process.
        address: of the cluster; ``None`` for a Ray of this process's own.
        workers: how many at most; ``None`` is as many as there is room for.
        threads: CPU threads of an evaluation; results depend on them in the last digits.
        gpus: GPUs of a worker.
        isolate: whether, without Ray, in a process beside this one.
    """

    ray: bool
    address: str | None
    workers: int | None
    threads: int
    gpus: float
    isolate: bool = False


def place(options: SearchOptions) -> Placement:
    """Settle what the options leave open.

    Raises:
        OptionError: options that say nothing here, or that contradict each other.
    """
    device = choose_device(options.machine.device)
    address = options.cluster.ray_address or os.environ.get(ADDRESS) or None
    several_gpus = device.type == "cuda" and torch.cuda.device_count() > 1
    backend = options.cluster.backend
    ray = backend == "ray" or (backend == "auto" and (address is not None or several_gpus))
    if not ray:
        for name in sorted(options.given & set(RAY_ONLY)):
            raise OptionError(f"{name.replace('_', '-')} is for Ray workers: add --backend ray")
    return Placement(
        ray=ray,
        address=address,
        workers=options.cluster.workers,
        threads=_threads(options) or (1 if ray else torch.get_num_threads()),
        gpus=_gpus(options, device) if ray else 0.0,
        isolate=options.cluster.isolate and not ray,  # workers of Ray are processes already
    )


def _threads(options: SearchOptions) -> int | None:
    threads, of_worker = options.machine.threads, options.machine.threads_per_worker
    if threads is not None and of_worker is not None and threads != of_worker:
        raise OptionError(f"threads and threads-per-worker are the same number, got {threads} and {of_worker}")
    return of_worker if threads is None else threads


def _gpus(options: SearchOptions, device: torch.device) -> float:
    gpus = options.cluster.gpus_per_worker
    if device.type != "cuda":
        if "gpus_per_worker" in options.given and gpus:
            raise OptionError(f"gpus-per-worker has no meaning on device {device.type}: leave it out")
        return 0.0
    if gpus is None:
        return 1.0
    if not gpus > 0 or (gpus > 1 and gpus != int(gpus)):
        raise OptionError(f"gpus-per-worker must be a share of one GPU or a whole number of them, got {gpus:g}")
    return gpus
