"""A file compared with the network that it was made from, on real images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gaprune.data import ImageSet, normaliser
from gaprune.device import pinned
from gaprune.errors import MethodError
from gaprune.progress import SILENT, Reporter, Task
from gaprune.runtimes import Timing, time_calls
from gaprune.shipping.files import Classify, ShippedFile, load_file
from gaprune.shipping.subject import Subject

BATCHES = (1, 7, 64)
"""Sizes of the batches that a file is checked with, over again: it must take any."""

IMAGES = 256
"""Test images that a file in floats is compared on; a quantized one is on all of them."""

ALIKE = 0.01
"""Largest difference of a file in floats, as a share of the largest logit, that other kernels may make."""


@dataclass(frozen=True)
class Check:
    """How a file compares with its network.

    Attributes:
        images: test images that both saw.
        difference: largest absolute difference of two logits.
        logits: the network's largest absolute logit.
        agreement: share of the images whose highest logit is the same class's, 0 to 1.
        accuracy: the file's, on these images.
        network_accuracy: the network's, on these images.
        file_time: of the file, one image a batch.
        network_time: of the network in PyTorch, as it is.
        threads: on the CPU.
    """

    images: int
    difference: float
    logits: float
    agreement: float
    accuracy: float
    network_accuracy: float
    file_time: Timing
    network_time: Timing
    threads: int


def check(file: ShippedFile, subject: Subject, test: ImageSet, threads: int, reporter: Reporter = SILENT) -> Check:
    """Compare a file with its network, and time both.

    Args:
        file: loaded again here.
        subject: what it was made from.
        test: labelled images, which chose nothing.
        threads: on the CPU.
        reporter: told how it goes.

    Raises:
        MethodError: its runtime does not take it, or a file in floats gives other answers.
    """
    integers = file.float_bytes is not None
    count = len(test) if integers else min(IMAGES, len(test))
    chosen = test.select(torch.linspace(0, len(test) - 1, count).long())
    normalised = normaliser(subject.mean, subject.std, "cpu")

    def original(pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = subject.network(normalised(pixels)).float()
            return found

    with pinned(threads):
        shipped = load_file(file, subject, threads)
        with reporter.task("check", 2 * count) as task:
            before, after = (torch.cat(list(_answers(run, chosen, task))) for run in (original, shipped))
        one = chosen.images[:1]
        times = time_calls([partial(shipped, one), partial(original, one)])
    found = _compared(before, after, chosen.labels, times, threads)
    if not integers and not found.difference <= ALIKE * max(found.logits, 1e-6):
        raise MethodError(
            f"the file answers otherwise than the network: logits of up to {found.logits:.3g} differ by up to "
            f"{found.difference:.3g} on {count} test images; nothing was written"
        )
    return found


def _answers(run: Classify, images: ImageSet, task: Task) -> Iterator[Tensor]:
    start, turn = 0, 0
    while start < len(images):
        size = BATCHES[turn % len(BATCHES)]
        yield run(images.images[start : start + size])
        task.advance(min(size, len(images) - start))
        start, turn = start + size, turn + 1


def _compared(before: Tensor, after: Tensor, labels: Tensor, times: list[Timing], threads: int) -> Check:
    first, second = before.argmax(1), after.argmax(1)
    return Check(
        images=len(labels),
        difference=float((before - after).abs().max()),
        logits=float(before.abs().max()),
        agreement=float((first == second).float().mean()),
        accuracy=float((second == labels).float().mean()),
        network_accuracy=float((first == labels).float().mean()),
        file_time=times[0],
        network_time=times[1],
        threads=threads,
    )
