"""A front member as it is handed out: compensated, and polished where that helps on the search set."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from gaprune.evaluate import Measured
from gaprune.genome import Genome
from gaprune.progress import Reporter
from gaprune.prune import Masks, Polisher
from gaprune.session import Job, first

POLISH_IMAGES = 2048
"""Images that layers are polished on, where they are small: all pass through a network at once."""

POLISH_PIXELS = 2 * POLISH_IMAGES * 32 * 32
"""Pixels of them all: 163 photographs at 160 x 160, 83 at 224 x 224."""


@dataclass(frozen=True)
class Built:
    """A network, and how it came about.

    Attributes:
        network: in eval mode, float32.
        measured: on the search set, in float32.
        values: by objective, of this network.
        minimised: by objective, of this network.
        violation: of the constraints, by this network.
        way: ``as cut``, ``compensated``, ``polished``, or ``polished, batch norm recalibrated``.
        gain: search accuracy that polishing added; 0 where it did not help, ``None`` where it was not tried.
    """

    network: nn.Module
    measured: Measured
    values: dict[str, float]
    minimised: dict[str, float]
    violation: float
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
        if job.options.space.polish:
            self._polish = _polisher(job, reporter)

    def __call__(self, genome: Genome) -> Built:
        """The best of the ways, see ``best``."""
        job = self._job
        way = "as cut" if job.options.space.compensation == "none" else "compensated"
        plain = self._built(genome, job.evaluator.network(genome), way, None)
        if self._polish is None:
            return plain
        masks = job.space.masks(genome)
        polished = job.evaluator.compacted(masks)
        self._polish(polished, masks)
        recalibrated = copy.deepcopy(polished)
        job.evaluator.recalibrate(recalibrated, masks)
        found = [
            replace(plain, gain=0.0),
            self._built(genome, polished, "polished", plain),
            self._built(genome, recalibrated, "polished, batch norm recalibrated", plain),
        ]
        return best(found, [objective.name for objective in job.objectives if not objective.costs_only])

    def _built(self, genome: Genome, network: nn.Module, way: str, plain: Built | None) -> Built:
        measured = self._job.evaluator.searched(network)
        values, minimised, violation = self._job.evaluator.judge(genome, measured, network)
        gain = None if plain is None else measured.score - plain.measured.score
        return Built(network, measured, values, minimised, violation, way, gain)


def best(found: Sequence[Built], measured: Sequence[str]) -> Built:
    """The one that violates the constraints least, then the best by the first objective that is measured.

    By accuracy where none is. The first of equals.
    """
    if not measured:
        return min(found, key=lambda built: (built.violation, -built.measured.score))
    return min(found, key=lambda built: (built.violation, built.minimised[measured[0]]))


def _polisher(job: Job, reporter: Reporter) -> Polisher:
    pixels = job.data.image_shape[1] * job.data.image_shape[2]
    images = first(job.splits.calibration, min(POLISH_IMAGES, max(POLISH_PIXELS // pixels, 1)))
    with reporter.task("sampling the original's outputs", len(images)) as task:
        return Polisher(
            job.baseline.model,
            job.space.graph,
            images,
            job.data.mean,
            job.data.std,
            batch_size=job.options.machine.batch_size,
            advance=task.advance,
        )
