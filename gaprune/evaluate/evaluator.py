"""Genome to numbers: compact network, compensated and recalibrated, accuracy measured, costs counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gaprune.data import ImageSet
from gaprune.errors import first_line
from gaprune.evaluate.constraints import Constraints
from gaprune.evaluate.measurement import Answers, Measurement, measure
from gaprune.evaluate.objectives import Objective
from gaprune.evaluate.outcome import Outcome
from gaprune.genome import Genome
from gaprune.prune import Anchors, Compactor, Compensator, Costs, Masks, PruningSpace, Recalibrator, fold

OF_THE_SEEN = ("loss", "divergence")
"""Values that say nothing where measuring was stopped: they are of other images than other networks'."""

REMEMBERED = 4096
"""Genomes whose costs are remembered: more than a generation has, which are asked for up to four times."""


@dataclass(frozen=True)
class FitnessTask:
    """What candidates are measured on.

    Attributes:
        search: the images that fitness is measured on.
        calibration: the images that batch norm is recalibrated on; labels unused.
        mean: per channel mean of the pixels, for normalisation.
        std: per channel standard deviation of the same.
        classes: number of classes.
        batch_size: images a forward pass; pinned, because results depend on it in the last digits.
        half: whether fitness is measured in bfloat16. Networks that are handed out stay in float32.
        answers: what the original says of the search images, where the divergence from it is asked for.
    """

    search: ImageSet
    calibration: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    batch_size: int = 256
    half: bool = False
    answers: Answers | None = None


class Evaluator:
    """A pure function of the genome: same genome, same outcome (but for the seconds).

    Args:
        model: the original network, on the images' device.
        space: its genomes.
        task: the images.
        objectives: what to report.
        compensator: makes up for removed channels in the consumers' weights; ``None`` leaves them as cut.
        constraints: what candidates should keep to; numbers up to 1 are shares of the original's costs.
        original: what costs are compared with, where that is not the whole of ``model``.
        anchors: what the original's batch norms give on the calibration images, in the task's batches, which those of
            compact networks are to give as well; ``None`` recalibrates to mean 0 and variance 1.

    Attributes:
        norms: batch norms that are folded while fitness is measured.
        constraints: with shares as counts.
    """

    def __init__(
        self,
        model: nn.Module,
        space: PruningSpace,
        task: FitnessTask,
        objectives: tuple[Objective, ...],
        compensator: Compensator | None = None,
        constraints: Constraints | None = None,
        original: Costs | None = None,
        anchors: Anchors | None = None,
    ) -> None:
        self.space = space
        self.task = task
        self.objectives = objectives
        self._compact = Compactor(model, space.graph)
        self._compensate = compensator
        self._costs: dict[str, Costs] = {}
        self._recalibrate = Recalibrator(task.calibration, task.mean, task.std, task.batch_size, space.graph, anchors)
        self.norms = space.graph.norms
        self.original = original or space.costs(Masks.full(space.graph))
        self.constraints = (constraints or Constraints()).counted(self.original)

    def __call__(self, genome: Genome, at_least: float = 0.0) -> Outcome:
        """Evaluate one genome. A candidate that raises or yields NaN becomes a failed outcome.

        Args:
            genome: a repaired genome.
            at_least: the accuracy below which measuring stops: the outcome is then marked as a bound. Above 1 nothing
                is measured at all, and the bound is 1.
        """
        start = time.perf_counter()
        try:
            masks = self.space.masks(genome)
            candidate = self._candidate(self.costs(genome, masks), lambda: self.fitness(masks, at_least))
            values, minimised, violation = self._judge(candidate)
        except Exception as error:  # a foreign network or objective may raise anything
            reason = first_line(error)
            return Outcome(genome.key, {}, {}, time.perf_counter() - start, f"{type(error).__name__}: {reason}")
        bad = [name for name, value in (*values.items(), *minimised.items()) if not math.isfinite(value)]
        seconds = time.perf_counter() - start
        if bad:
            return Outcome(genome.key, {}, {}, seconds, f"{bad[0]} is not finite")
        measured = candidate.measurement
        bound = measured is not None and measured.bound
        likely = measured.likely if measured is not None else None
        if bound:
            for name in OF_THE_SEEN:
                values.pop(name, None)
        return Outcome(genome.key, values, minimised, seconds, bound=bound, violation=violation, likely=likely)

    def costs(self, genome: Genome, masks: Masks | None = None) -> Costs:
        """What a genome's network costs, counted without building it; the last ones asked for are remembered.

        Args:
            genome: a repaired genome.
            masks: what it means, where that is known.
        """
        key = genome.key
        if key not in self._costs:
            if len(self._costs) >= REMEMBERED:
                del self._costs[next(iter(self._costs))]
            masks = masks or self.space.masks(genome, order=False)
            self._costs[key] = self.space.costs(masks)
        return self._costs[key]

    def prices(self, genome: Genome) -> dict[str, float]:
        """What the objectives of costs alone minimise, by name: known without building the network.

        Raises whatever an objective raises, and ``RuntimeError`` for one that measures all the same.
        """
        candidate = self._candidate(self.costs(genome), _refuse_to_measure)
        return {o.name: float(o.minimised(candidate)) for o in self.objectives if o.costs_only}

    def cost_violation(self, genome: Genome) -> float:
        """What the costs alone violate the constraints by: known without building the network."""
        return self.constraints.violation(self.costs(genome))

    def judge(self, genome: Genome, measured: Measurement) -> tuple[dict[str, float], dict[str, float], float]:
        """What a genome is worth whose network was ``measured`` elsewhere.

        Returns:
            Plain values and what is minimised, by objective, and the violation of the constraints.
        """
        return self._judge(self._candidate(self.costs(genome), _refuse_to_measure, measured))

    def network(self, genome: Genome) -> nn.Module:
        """The compact network of a genome, compensated, batch norm recalibrated, in eval mode, in float32."""
        masks = self.space.masks(genome)
        network = self.compacted(masks)
        self.recalibrate(network, masks)
        return network

    def fitness(self, masks: Masks, at_least: float = 0.0) -> Measurement:
        """The same network measured on the search set, in the cheapest way that keeps ranks.

        In bfloat16 if the task says so, batch norm folded.

        Args:
            masks: the candidate.
            at_least: the accuracy below which measuring stops at a bound; above 1 it does not begin.
        """
        task = self.task
        if at_least > 1:
            return Measurement(len(task.search), len(task.search), 0.0, bound=True)
        precision = torch.autocast(task.search.images.device.type, torch.bfloat16, enabled=task.half)
        with torch.no_grad():
            network = self.compacted(masks)
            with precision:
                self.recalibrate(network, masks)
            fold(network, self.norms)
            with precision:
                return self._measured(network, at_least)

    def compacted(self, masks: Masks) -> nn.Module:
        """The compact network, compensated, in eval mode, in float32; batch norm as the original had it."""
        network = self._compact(masks, self._compensate(masks) if self._compensate else None)
        for parameter in network.parameters():
            if parameter.ndim == 4:  # a quarter to a third faster, on CPU too
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network

    def recalibrate(self, network: nn.Module, masks: Masks) -> None:
        """Measure the batch-norm statistics of a network of these masks anew on the calibration images, in place."""
        self._recalibrate(network, masks)

    def searched(self, network: nn.Module) -> Measurement:
        """What a network is worth on the search images, divergence from the original included if that is asked for."""
        return self._measured(network)

    def measure(self, network: nn.Module, images: ImageSet) -> Measurement:
        """Accuracy and loss of a network under the task's normalisation and batch size."""
        return measure(network, images, self.task.mean, self.task.std, batch_size=self.task.batch_size)

    def _measured(self, network: nn.Module, at_least: float = 0.0) -> Measurement:
        task = self.task
        return measure(
            network,
            task.search,
            task.mean,
            task.std,
            batch_size=task.batch_size,
            at_least=at_least,
            answers=task.answers,
        )

    def _candidate(
        self, costs: Costs, measure: Callable[[], Measurement], measurement: Measurement | None = None
    ) -> _Candidate:
        return _Candidate(costs, self.original, self.task.classes, measure, measurement)

    def _judge(self, candidate: _Candidate) -> tuple[dict[str, float], dict[str, float], float]:
        minimised = {objective.name: float(objective.minimised(candidate)) for objective in self.objectives}
        values = {objective.name: float(objective.value(candidate)) for objective in self.objectives}
        accuracy = None if self.constraints.accuracy is None else candidate.measured.accuracy
        violation = self.constraints.violation(candidate.costs, accuracy)
        values.update(flops=candidate.costs.flops, params=candidate.costs.params, size=candidate.costs.size)
        if candidate.measurement is not None:
            values.update(accuracy=candidate.measurement.accuracy, loss=candidate.measurement.loss)
            if candidate.measurement.divergence is not None:
                values.update(divergence=candidate.measurement.divergence)
        return values, minimised, violation


@dataclass
class _Candidate:
    """One candidate, measured when an objective first asks, unless it was before.

    Attributes:
        costs: of its network.
        original: costs of the original.
        classes: number of classes.
        measure: how it is measured.
        measurement: what that gave; ``None`` as long as nobody has asked.
    """

    costs: Costs
    original: Costs
    classes: int
    measure: Callable[[], Measurement]
    measurement: Measurement | None = None

    @property
    def measured(self) -> Measurement:
        if self.measurement is None:
            self.measurement = self.measure()
        return self.measurement


def _refuse_to_measure() -> Measurement:
    raise RuntimeError("an objective of costs only asks for a measurement")
