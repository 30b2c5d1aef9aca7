"""A front member as it is handed out: compensated, and polished where that brings it nearer to the original.

Which way is the best of those of one network is told by divergence from the original's outputs on the search images,
where the search asks for accuracy: of a few hundred images the number answered rightly tells noise, the divergence far
less of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from gaprune.evaluate import Answers, Measured
from gaprune.genome import Genome
from gaprune.progress import Reporter
from gaprune.prune import Masks
from gaprune.session import Job, make_polisher

ACCURACY = "accuracy"


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
        gain: search accuracy that polishing added; 0 where it was not taken, ``None`` where it was not tried.
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
        self._answers: Answers | None = None
        if job.options.space.polish:
            self._polish = make_polisher(job, reporter)
            self._answers = job.evaluator.images.answers or _answers(job)

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
        measured = self._job.evaluator.searched(network, self._answers)
        values, minimised, violation = self._job.evaluator.judge(genome, measured, network)
        gain = None if plain is None else measured.score - plain.measured.score
        return Built(network, measured, values, minimised, violation, way, gain)


def best(found: Sequence[Built], measured: Sequence[str]) -> Built:
    """The one that violates the constraints least, then the best by the first objective that is measured.

    For accuracy, and where nothing is measured, divergence stands in if it is known of all. The first of equals.
    """
    kind = measured[0] if measured else ACCURACY
    if kind != ACCURACY:
        return min(found, key=lambda built: (built.violation, built.minimised[kind]))
    apart = [built.measured.divergence for built in found]
    worse = [-built.measured.score for built in found] if None in apart else apart
    order = sorted(range(len(found)), key=lambda one: (found[one].violation, worse[one]))
    return found[order[0]]


def _answers(job: Job) -> Answers:
    """The original's, of the search images."""
    original = job.baseline.model if job.true_original is None else job.true_original
    task = job.evaluator.images
    return Answers.of(original, task.search, task.mean, task.std, batch_size=task.batch_size)
