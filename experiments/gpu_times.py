"""The steps of ``gpu.py`` that take times, or set this device beside the CPU."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

import gaprune
from benchmarks import scaling, subjects, throughput
from experiments.gpu_here import Here, peak_megabytes, within
from gaprune.compress.timing import median_seconds
from gaprune.device import choose_device, pinned
from gaprune.evaluate import Evaluator
from gaprune.front.members import CSV
from gaprune.runs import read_csv
from gaprune.training import bfloat16_pays

GENOMES = 30

LARGE_BATCH = 1_000
"""Images a forward pass, where launching kernels takes longer than computing: fewer and larger ones."""

MODES = ("float32", "tf32", "bfloat16")


def agreement(here: Here, name: str) -> None:
    """Fitness of the same genomes on this device and on the CPU, float32 and in the precision of a search."""
    subject = here.subject(name)
    with pinned(max(torch.get_num_threads(), len(os.sched_getaffinity(0)) // 2)):  # most of it is the CPU's work
        found, space = subjects.study(subject, here.reporter)
        chosen = throughput.genomes(space, tuple(np.linspace(0.9, 0.05, 4 if here.quick else GENOMES).round(4)))
        evaluator = throughput.evaluator_of(subject, space, found, subject.splits.search)
        on_device = {
            half: [throughput.variant(evaluator, half=half, folded=True)(genome) for genome in chosen]
            for half in (False, True)
        }
        again = [throughput.variant(evaluator, half=True, folded=True)(genome) for genome in chosen]
        twin = _cpu_twin(here, subject)
        on_cpu = [twin(genome) for genome in chosen]
    rows = {}
    for half, outcomes in on_device.items():
        pairs = [(a.values["accuracy"], b.values["accuracy"]) for a, b in zip(outcomes, on_cpu, strict=True)]
        losses = [abs(a.values["loss"] - b.values["loss"]) for a, b in zip(outcomes, on_cpu, strict=True)]
        rows["bfloat16" if half else "float32"] = {
            "spearman": float(spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic),
            "largest_difference": max(abs(a - b) for a, b in pairs),
            "largest_difference_of_loss": max(losses),
            "pairs": pairs,
        }
    same = all(a.values == b.values for a, b in zip(on_device[True], again, strict=True))
    here.write(network=name, device=str(subject.device), against="cpu, float32", rows=rows, same_again=same)


def _cpu_twin(here: Here, subject: subjects.Subject) -> Evaluator:
    """The evaluator of the same candidates on the CPU, made there from the images on."""
    parts = {part: getattr(subject.splits, part).to("cpu") for part in ("train", "search", "calibration", "test")}
    twin = dataclasses.replace(
        subject,
        model=subject.model.cpu(),
        splits=dataclasses.replace(subject.splits, **parts),
        recalibration=subject.recalibration.to("cpu"),
    )
    found, space = subjects.study(twin, here.reporter)
    return throughput.evaluator_of(twin, space, found, twin.splits.search)


def rates(here: Here, name: str) -> None:
    """Candidates a second, in this process and on Ray workers that share the card, with 2,000 and 8,000 images."""
    subject = here.subject(name)
    extent = scaling.QUICK if here.quick else scaling.Extent(candidates=16, turns=2)
    with pinned(torch.get_num_threads()):
        found, space = subjects.study(subject, here.reporter)
    rows: dict[str, Any] = {}
    for images in (subject.splits.search, subjects.first(subject.splits.test, 8_000)):
        evaluator = throughput.evaluator_of(subject, space, found, images)
        evaluator = throughput.variant(evaluator, half=bfloat16_pays(subject.device), folded=True)
        rows[f"{len(images)} images"] = scaling.rates_of(subject, evaluator, extent, (1,) if here.quick else (1, 4))
        larger = copy.copy(evaluator)
        larger.task = dataclasses.replace(evaluator.task, batch_size=LARGE_BATCH)
        rows[f"{len(images)} images, batches of {LARGE_BATCH}"] = scaling.rates_of(subject, larger, extent, ())
        here.write(network=name, rows=rows, peak_device_mb=peak_megabytes())


def speed(here: Here, name: str) -> None:
    """How many candidates a second against the plain way, and the share of their time outside forward passes."""
    subject = here.subject(name)
    extent = throughput.QUICK if here.quick else throughput.Extent(turns=1)
    with pinned(torch.get_num_threads()):
        found, space = subjects.study(subject, here.reporter)
        rows, memory, shares = throughput.compare(subject, space, found, extent, here.reporter)
    here.write(network=name, rows=rows, peak_mb=memory, flops_shares=shares, peak_device_mb=peak_megabytes())


def latency(here: Here, name: str) -> None:
    """Seconds of a batch of 1 and of 128: the original and members, by precision, eager and compiled."""
    device = choose_device("auto")
    baseline = here.subject(name)
    path = here.run(name)
    networks: dict[str, tuple[float, nn.Module]] = {"original": (1.0, baseline.model)}
    for budget, member in within(read_csv(path / CSV)).items():
        if member is not None:
            networks[f"{budget:g}"] = (
                member.flops_share,
                gaprune.load(path / member.home, trust=here.quick).to(device),
            )
    shape, rows = baseline.data.image_shape, []
    for compiled in (False, True):
        for label, (share, network) in networks.items():
            for batch in (1, 128):
                images = torch.randn((batch, *shape), device=device).contiguous(memory_format=torch.channels_last)
                for mode in MODES:
                    if compiled and (mode == "float32" or label not in ("original", "0.1")):
                        continue
                    seconds = _latency(network, images, mode, compiled)
                    rows.append(
                        {"member": label, "flops": share, "batch": batch, "precision": mode, "compiled": compiled}
                        | {"milliseconds": round(1e3 * seconds, 4)}
                    )
            here.write(network=name, device=str(device), rows=rows)


def _latency(network: nn.Module, images: torch.Tensor, mode: str, compiled: bool) -> float:
    network = network.eval().to(memory_format=torch.channels_last)
    backend = "inductor" if images.is_cuda else "aot_eager"  # which makes no C++, and takes no minutes
    run: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network, backend=backend) if compiled else network
    with _precision(mode, images.device), torch.inference_mode():
        run(images)
        return median_seconds(lambda: run(images), images.device)


@contextmanager
def _precision(mode: str, device: torch.device) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=mode == "tf32"),
            torch.autocast(device.type, torch.bfloat16, enabled=mode == "bfloat16"),
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def compared(here: Here, name: str) -> None:
    """The GPU column of the compared methods, whose rows are trained for a moment only: times, not accuracy."""
    from gaprune.commands.compare import CompareOptions, compare_as, default_methods
    from gaprune.compress.ours import Front

    path, table = here.run(name), here.work / f"compared-{name}"
    methods = ("none", "tucker:size=0.6", "ours") if here.quick else default_methods(Front(path))
    places = {k: here.options(name)[k] for k in ("data_dir", "cache_dir") if k in here.options(name)}
    rows = compare_as(
        CompareOptions.of(
            run=path,
            trust=here.quick,
            methods=methods,
            epochs=1,
            epoch_images=64 if here.quick else 512,
            output=table,
            given=frozenset({"run", "methods", "epochs", "epoch_images", "output", *places}),
            **places,
        )
    )
    times = [{"chain": row.chain, "size_mb": row.size_mb, "flops": row.flops, "seconds": row.seconds} for row in rows]
    here.write(network=name, note="rows were trained for a moment: their times count, not their accuracy", rows=times)
