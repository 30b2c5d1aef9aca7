"""A front member as it is handed out: compensated, and polished where that helps on the search set."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from gaprune.driver.engine import first
from gaprune.driver.setup import Job
from gaprune.progress import Reporter
from gaprune.prune.genome import Genome
from gaprune.prune.masks import Masks
from gaprune.prune.polish import Polisher

POLISH_PIXELS = 2048 * 32 * 32
"""Pixels of all images that pass through a network at once: 2,048 of CIFAR's."""

AS_IT_WAS = "compensated"


@dataclass(frozen=True)
class Built:
    """A network, and how it came about.

    Attributes:
        network: in eval mode, float32.
        search_accuracy: on the search set, in float32.
        way: ``compensated``, ``polished``, or ``polished, batch norm recalibrated``.
        gain: search accuracy that polishing added; 0 where it did not help, ``None`` where it was not tried.
    """

    network: nn.Module
    search_accuracy: float
    way: str
    gain: float | None


class Builder:
    """Builds the networks of genomes.

    Args:
        job: a prepared search; with ``polish`` the original's outputs are sampled here, once.
        reporter: told of that.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self._job = job
        self._polish: Callable[[nn.Module, Masks], None] | None = None
        if job.options.polish:
            self._polish = _polisher(job, reporter)

    def __call__(self, genome: Genome) -> Built:
        """The best of the ways by accuracy on the search set; the first of equals."""
        job = self._job
        network = job.evaluator.network(genome)
        before = self._accuracy(network)
        if self._polish is None:
            return Built(network, before, AS_IT_WAS, None)
        found = [Built(network, before, AS_IT_WAS, 0.0)]
        masks = job.space.masks(genome)
        polished = job.evaluator.compacted(masks)
        self._polish(polished, masks)
        recalibrated = copy.deepcopy(polished)
        job.evaluator.recalibrate(recalibrated)
        for way, made in (("polished", polished), ("polished, batch norm recalibrated", recalibrated)):
            accuracy = self._accuracy(made)
            found.append(Built(made, accuracy, way, accuracy - before))
        return max(found, key=lambda built: built.search_accuracy)

    def _accuracy(self, network: nn.Module) -> float:
        return self._job.evaluator.measure(network, self._job.splits.search).accuracy


def _polisher(job: Job, reporter: Reporter) -> Polisher:
    pixels = job.data.image_shape[1] * job.data.image_shape[2]
    images = first(job.splits.calibration, max(POLISH_PIXELS // pixels, 1))
    with reporter.task("sampling the original's outputs", len(images)) as task:
        return Polisher(
            job.baseline.model,
            job.space.graph,
            images,
            job.data.mean,
            job.data.std,
            batch_size=job.options.batch_size,
            advance=task.advance,
        )
