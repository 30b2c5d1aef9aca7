"""Genome to numbers: compact network, compensated and recalibrated, accuracy measured, costs counted."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from gaprune.data.images import ImageSet
from gaprune.errors import first_line
from gaprune.evaluate.constraints import Constraints
from gaprune.evaluate.measure import Measurement, measure
from gaprune.evaluate.objectives import Objective
from gaprune.evaluate.outcome import Outcome
from gaprune.prune.calibration import recalibrate
from gaprune.prune.compact import Compactor
from gaprune.prune.compensation import Compensator
from gaprune.prune.costs import Costs
from gaprune.prune.folding import fold
from gaprune.prune.genome import Genome
from gaprune.prune.masks import Masks
from gaprune.prune.space import PruningSpace

MOST_COSTS = 4096
"""Genomes whose costs are remembered: a few generations of any size."""


@dataclass(frozen=True)
class Task:
    """What candidates are measured on.

    Attributes:
        search: the images that fitness is measured on.
        calibration: the images that batch norm is recalibrated on; labels unused.
        mean: per channel mean of the pixels, for normalisation.
        std: per channel standard deviation of the same.
        classes: number of classes.
        batch_size: images a forward pass; pinned, because results depend on it in the last digits.
        half: whether fitness is measured in bfloat16. Networks that are handed out stay in float32.
    """

    search: ImageSet
    calibration: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int
    batch_size: int = 256
    half: bool = False


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

    Attributes:
        norms: batch norms that are folded while fitness is measured.
        constraints: with shares as counts.
    """

    def __init__(
        self,
        model: nn.Module,
        space: PruningSpace,
        task: Task,
        objectives: tuple[Objective, ...],
        compensator: Compensator | None = None,
        constraints: Constraints | None = None,
        original: Costs | None = None,
    ) -> None:
        self.space = space
        self.task = task
        self.objectives = objectives
        self._compact = Compactor(model, space.graph)
        self._compensate = compensator
        self.norms = space.graph.norms
        self.original = original or space.costs(Masks.full(space.graph))
        self.constraints = (constraints or Constraints()).counted(self.original)
        self._costs: dict[str, Costs] = {}

    def __call__(self, genome: Genome, at_least: float = 0.0) -> Outcome:
        """Evaluate one genome. A candidate that raises or yields NaN becomes a failed outcome.

        Args:
            genome: a repaired genome.
            at_least: the accuracy below which measuring stops: the outcome is then marked as a bound. Above 1 nothing
                is measured at all, and the bound is 1.
        """
        start = time.perf_counter()
        candidate = _Candidate(self, genome, at_least)
        try:
            values, minimised, violation = self._judge(candidate)
        except Exception as error:  # a foreign network or objective may raise anything
            reason = first_line(error)
            return Outcome(genome.key, {}, {}, time.perf_counter() - start, f"{type(error).__name__}: {reason}")
        bad = [name for name, value in (*values.items(), *minimised.items()) if not math.isfinite(value)]
        seconds = time.perf_counter() - start
        if bad:
            return Outcome(genome.key, {}, {}, seconds, f"{bad[0]} is not finite")
        bound = candidate.is_measured and candidate.measured.bound
        likely = candidate.measured.likely if bound else None
        if bound:
            del values["loss"]
        return Outcome(genome.key, values, minimised, seconds, bound=bound, violation=violation, likely=likely)

    def costs(self, genome: Genome) -> Costs:
        """FLOPs, parameters and size of a genome, known without building the network; of late ones remembered."""
        if genome.key not in self._costs:
            if len(self._costs) >= MOST_COSTS:
                del self._costs[next(iter(self._costs))]
            self._costs[genome.key] = self.space.costs(self.space.masks(genome, order=False))
        return self._costs[genome.key]

    def prices(self, genome: Genome) -> dict[str, float]:
        """What the objectives of costs alone minimise, by name: known without building the network.

        Raises whatever an objective raises, and ``RuntimeError`` for one that measures all the same.
        """
        candidate = _Unmeasured(self, genome)
        return {o.name: float(o.minimised(candidate)) for o in self.objectives if o.costs_only}

    def cost_violation(self, genome: Genome) -> float:
        """What the costs alone violate the constraints by: known without building the network."""
        return self.constraints.violation(self.costs(genome))

    def judge(self, genome: Genome, measured: Measurement) -> tuple[dict[str, float], dict[str, float], float]:
        """What a genome is worth whose network was ``measured`` elsewhere.

        Returns:
            Plain values and what is minimised, by objective, and the violation of the constraints.
        """
        candidate = _Candidate(self, genome)
        candidate.__dict__["measured"] = measured
        return self._judge(candidate)

    def network(self, genome: Genome) -> nn.Module:
        """The compact network of a genome, compensated, batch norm recalibrated, in eval mode, in float32."""
        network = self.compacted(self.space.masks(genome))
        self.recalibrate(network)
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
                self.recalibrate(network)
            fold(network, self.norms)
            with precision:
                return measure(network, task.search, task.mean, task.std, batch_size=task.batch_size, at_least=at_least)

    def compacted(self, masks: Masks) -> nn.Module:
        """The compact network, compensated, in eval mode, in float32; batch norm as the original had it."""
        network = self._compact(masks, self._compensate(masks) if self._compensate else None)
        for parameter in network.parameters():
            if parameter.ndim == 4:  # a quarter to a third faster, on CPU too
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network

    def recalibrate(self, network: nn.Module) -> None:
        """Measure the network's batch-norm statistics anew on the calibration images, in place."""
        task = self.task
        recalibrate(network, task.calibration, task.mean, task.std, batch_size=task.batch_size)

    def measure(self, network: nn.Module, images: ImageSet) -> Measurement:
        """Accuracy and loss of a network under the task's normalisation and batch size."""
        return measure(network, images, self.task.mean, self.task.std, batch_size=self.task.batch_size)

    def _judge(self, candidate: _Candidate) -> tuple[dict[str, float], dict[str, float], float]:
        minimised = {objective.name: float(objective.minimised(candidate)) for objective in self.objectives}
        values = {objective.name: float(objective.value(candidate)) for objective in self.objectives}
        accuracy = None if self.constraints.accuracy is None else candidate.measured.accuracy
        violation = self.constraints.violation(candidate.costs, accuracy)
        values.update(flops=candidate.costs.flops, params=candidate.costs.params, size=candidate.costs.size)
        if candidate.is_measured:
            values.update(accuracy=candidate.measured.accuracy, loss=candidate.measured.loss)
        return values, minimised, violation


class _Candidate:
    """One candidate, measured when an objective first asks."""

    def __init__(self, evaluator: Evaluator, genome: Genome, at_least: float = 0.0) -> None:
        self._evaluator = evaluator
        self._genome = genome
        self._at_least = at_least
        self.original: Costs = evaluator.original
        self.classes: int = evaluator.task.classes

    @property
    def is_measured(self) -> bool:
        """Whether some objective has asked for a measurement."""
        return "measured" in self.__dict__

    @cached_property
    def masks(self) -> Masks:
        return self._evaluator.space.masks(self._genome)

    @cached_property
    def costs(self) -> Costs:
        return self._evaluator.costs(self._genome)

    @cached_property
    def measured(self) -> Measurement:
        return self._evaluator.fitness(self.masks, self._at_least)


class _Unmeasured(_Candidate):
    """A candidate of which only the costs may be asked."""

    @cached_property
    def measured(self) -> Measurement:
        raise RuntimeError("an objective of costs only asks for a measurement")
