"""Genome to numbers: compact network, compensated and recalibrated, accuracy measured, costs counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from gaprune import device
from gaprune.data import ImageSet
from gaprune.errors import DeviceLostError, first_line
from gaprune.evaluate.attack import Robustness
from gaprune.evaluate.constraints import Constraints
from gaprune.evaluate.fitness_task import Fitness, FitnessTask, Measured
from gaprune.evaluate.measurement import Answers, Measurement, measure
from gaprune.evaluate.objectives import BUILT_IN, Objective, is_timed
from gaprune.evaluate.outcome import Outcome
from gaprune.evaluate.racing import KINDS, UNKNOWN, Floor, write_marks
from gaprune.genome import Genome
from gaprune.options import LATENCY
from gaprune.prune import Anchors, Compactor, Compensator, Costs, Masks, PruningSpace, fold
from gaprune.runtimes import Clock, Latency

LATENCY_VALUES = (LATENCY, f"{LATENCY}_low", f"{LATENCY}_high")
"""Of an outcome: seconds of a batch, and the ends of their interval."""

OF_THE_SEEN = ("loss", "divergence")
"""Values that say nothing where measuring was stopped: they are of other images than other networks'."""

REMEMBERED = 4096
"""Genomes whose costs are remembered: more than a generation has, which are asked for up to four times."""


@dataclass(frozen=True)
class Polish:
    """Which candidates are judged polished, and what polishes them.

    Those with masked kernels or tied groups are not: their layers cannot be solved for.

    Attributes:
        below: share of the original's FLOPs that they cost less than.
        polish: re-solves the layers of a compact network of these masks, in place; batch norm stays as compaction
            leaves it.
    """

    below: float
    polish: Callable[[nn.Module, Masks], None]

    def covers(self, masks: Masks, share: float) -> bool:
        """Whether a candidate of this share of the FLOPs is polished."""
        return share < self.below and not masks.kernels and not masks.groupings


class Evaluator:
    """A pure function of the genome: same genome, same outcome (but for the seconds).

    Args:
        model: the original network, on the images' device.
        space: its genomes.
        task: what candidates are measured on.
        objectives: what to report.
        compensator: makes up for removed channels in the consumers' weights; ``None`` leaves them as cut.
        constraints: what candidates should keep to; numbers up to 1 are shares of the original's costs.
        original: what costs are compared with, where that is not the whole of ``model``.
        anchors: what the original's batch norms give on the calibration images, in the task's batches, which those of
            compact networks are to give as well; ``None`` recalibrates to mean 0 and variance 1.
        clock: tells how long networks take; ``None`` where nobody asks.
        polish: of small candidates; ``None`` judges all as they are compensated.

    Attributes:
        norms: batch norms that are folded while fitness is measured.
        constraints: with shares as counts.
        raced: name of the objective by which candidates race; ``None`` where they do not.
        clock: tells how long networks take, if anybody asks.
    """

    def __init__(
        self,
        model: nn.Module,
        space: PruningSpace,
        task: Fitness,
        objectives: tuple[Objective, ...],
        compensator: Compensator | None = None,
        constraints: Constraints | None = None,
        original: Costs | None = None,
        anchors: Anchors | None = None,
        clock: Clock | None = None,
        polish: Polish | None = None,
    ) -> None:
        self.space = space
        self.task = task
        self.objectives = objectives
        self._compact = Compactor(model, space.graph)
        self._compensate = compensator
        self._polish = polish
        self._costs: dict[str, Costs] = {}
        self._recalibrate = task.recalibrator(space.graph, anchors)
        self.norms = space.graph.norms
        self.raced = raced_by(objectives) if task.racing < 1 else None
        self.original = original or space.costs(Masks.full(space.graph))
        self.constraints = (constraints or Constraints()).counted(self.original)
        self.clock = clock
        self._judges_latency = self.constraints.latency is not None or any(map(is_timed, objectives))
        self._latencies: dict[str, Latency] = {}
        looked_up = clock is not None and clock.counts
        self._timed: dict[str, Latency] = {} if looked_up else self._latencies

    def __call__(self, genome: Genome, floor: Floor = UNKNOWN) -> Outcome:
        """Evaluate one genome. A candidate that raises, asks to exit or yields NaN becomes a failed outcome.

        Args:
            genome: a repaired genome.
            floor: what is known before: below its accuracy, or surely worse than its rival, measuring stops, and the
                outcome is marked as a bound. Above 1 nothing is measured at all, and the bound is 1.

        Raises:
            DeviceLostError: what was raised has left the device unusable, so that all others would fail as well.
        """
        start = time.perf_counter()
        try:
            masks = self.space.masks(genome)
            self.costs(genome, masks)
            candidate = self._candidate(genome, lambda: self.fitness(masks, floor))
            candidate.attack = lambda: self.attack(self._judged(masks, half=False))
            values, minimised, violation = self._judge(candidate)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a foreign network or objective may raise anything, or ask to exit
            reason = first_line(error)
            if not device.answers(torch.device(self.task.device_type)):
                raise DeviceLostError(
                    f"candidate {genome.key[:12]} has left the GPU unusable for this process: "
                    f"{type(error).__name__}: {reason}"
                ) from error
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
        marks = None
        if self.raced is not None and isinstance(measured, Measurement) and measured.each is not None:
            marks = write_marks(measured.each, self.raced)
        return Outcome(
            genome.key, values, minimised, seconds, bound=bound, violation=violation, likely=likely, marks=marks
        )

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
        candidate = self._candidate(genome, _refuse_to_measure)
        return {o.name: float(o.minimised(candidate)) for o in self.objectives if o.costs_only}

    def cost_violation(self, genome: Genome) -> float:
        """What the costs alone violate the constraints by: known without building the network."""
        known = self.clock is not None and self.clock.counts and self.constraints.latency is not None
        return self.constraints.violation(self.costs(genome), latency=self.latency(genome).share if known else None)

    def judge(
        self, genome: Genome, measured: Measured, network: nn.Module
    ) -> tuple[dict[str, float], dict[str, float], float]:
        """What a genome is worth whose ``network``, such as a trained one, was ``measured`` elsewhere.

        Returns:
            Plain values and what is minimised, by objective, and the violation of the constraints.
        """
        candidate = self._candidate(genome, _refuse_to_measure, measured)
        candidate.time = lambda: self.timed(genome)
        candidate.attack = lambda: self.attack(network)
        return self._judge(candidate)

    def timed(self, genome: Genome) -> Latency:
        """How long a genome's network takes by the stopwatch, where candidates are told by a table; timed once."""
        stopwatch: Clock | None = getattr(self.clock, "stopwatch", None)
        if stopwatch is None:
            return self.latency(genome)
        if genome.key not in self._timed:
            masks = self.space.masks(genome)
            self._timed[genome.key] = stopwatch(masks, lambda: self._as_timed(masks))
        return self._timed[genome.key]

    def latency(self, genome: Genome) -> Latency:
        """How long a genome's network takes; timed once, or known from the log.

        Raises:
            MethodError: its runtime does not take it.
        """
        assert self.clock is not None, "who asks for latency makes a clock"
        if genome.key not in self._latencies:
            masks = self.space.masks(genome)
            self._latencies[genome.key] = self.clock(masks, lambda: self._as_timed(masks))
        return self._latencies[genome.key]

    def remember(self, outcome: Outcome) -> None:
        """Take the latency of a logged outcome for known, so that nothing is timed twice."""
        known = self._judges_latency and LATENCY in outcome.values
        if self.clock is not None and not self.clock.counts and known:
            self.remember_timed(outcome.key, *(outcome.values[name] for name in LATENCY_VALUES))

    def remember_timed(self, key: str, seconds: float, low: float, high: float) -> None:
        """Take what the stopwatch said of a genome, by its key, for known."""
        if self.clock is not None:
            self._timed[key] = Latency(seconds, low, high, seconds / self.clock.reference)

    def _as_timed(self, masks: Masks) -> nn.Module:
        """The compact network with any weights: time does not depend on them."""
        with torch.no_grad():
            network = self._compact(masks, None)
            fold(network, self.norms)
        return network

    def network(self, genome: Genome) -> nn.Module:
        """The compact network of a genome, compensated, batch norm recalibrated, in eval mode, in float32."""
        masks = self.space.masks(genome)
        network = self.compacted(masks)
        self.recalibrate(network, masks)
        return network

    def fitness(self, masks: Masks, floor: Floor = UNKNOWN) -> Measured:
        """The same network measured on the search set, in the cheapest way that keeps ranks.

        In bfloat16 if the task says so, batch norm folded; small networks polished if that was asked for.

        Args:
            masks: the candidate.
            floor: where measuring stops at a bound; with an accuracy above 1 it does not begin.
        """
        task = self.task
        if floor.accuracy > 1:
            return task.unmeasured()
        network = self._judged(masks, half=task.half)
        with torch.no_grad(), torch.autocast(task.device_type, torch.bfloat16, enabled=task.half):
            return task.measured(network, floor, self.raced)

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

    def attack(self, network: nn.Module) -> Robustness:
        """Accuracy of a network under attack, on some of the search images, in float32."""
        return self.task.attack(network)

    def _judged(self, masks: Masks, *, half: bool) -> nn.Module:
        """The compact network as it is judged: polished, or batch norm recalibrated; folded."""
        polish = self._polish
        with torch.no_grad():
            network = self.compacted(masks)
            if polish is not None and polish.covers(masks, self.space.costs(masks).flops / self.original.flops):
                polish.polish(network, masks)
            else:
                with torch.autocast(self.task.device_type, torch.bfloat16, enabled=half):
                    self.recalibrate(network, masks)
            fold(network, self.norms)
        return network

    def searched(self, network: nn.Module, answers: Answers | None = None) -> Measured:
        """What a network is worth on the search set, divergence from the original included if that is asked for.

        Args:
            network: in eval mode.
            answers: of the original on the search images, where they are; those of the task by default.
        """
        task = self.task if answers is None else replace(self.images, answers=answers)
        return task.measured(network)

    @property
    def images(self) -> FitnessTask:
        """The task, where it is of images."""
        assert isinstance(self.task, FitnessTask), "who asks for images knows that there are some"
        return self.task

    def measure(self, network: nn.Module, images: ImageSet) -> Measurement:
        """Accuracy and loss of a network under the task's normalisation and batch size."""
        task = self.images
        return measure(network, images, task.mean, task.std, batch_size=task.batch_size)

    def _candidate(
        self, genome: Genome, measure: Callable[[], Measured], measurement: Measured | None = None
    ) -> _Candidate:
        costs, classes = self.costs(genome), self.task.classes
        return _Candidate(costs, self.original, classes, measure, lambda: self.latency(genome), measurement)

    def _judge(self, candidate: _Candidate) -> tuple[dict[str, float], dict[str, float], float]:
        minimised = {objective.name: float(objective.minimised(candidate)) for objective in self.objectives}
        values = {objective.name: float(objective.value(candidate)) for objective in self.objectives}
        accuracy = None if self.constraints.accuracy is None else candidate.score
        stopped = candidate.measurement is not None and candidate.measurement.bound
        latency = candidate.latency if self._judges_latency and not stopped else None
        violation = self.constraints.violation(candidate.costs, accuracy, None if latency is None else latency.share)
        values.update(flops=candidate.costs.flops, params=candidate.costs.params, size=candidate.costs.size)
        if candidate.measurement is not None:
            values.update(candidate.measurement.values())
        if latency is not None:
            values.update(zip(LATENCY_VALUES, (latency.seconds, latency.low, latency.high), strict=True))
        if candidate.attacked is not None:
            values.update(candidate.attacked.accuracies)
        return values, minimised, violation


@dataclass
class _Candidate:
    """One candidate, measured when an objective first asks, unless it was before.

    Attributes:
        costs: of its network.
        original: costs of the original.
        classes: number of classes.
        measure: how it is measured.
        time: how long it takes.
        measurement: what that gave; ``None`` as long as nobody has asked.
        attack: how it is attacked.
        attacked: what that left of its accuracy; ``None`` as long as nobody has asked.
    """

    costs: Costs
    original: Costs
    classes: int
    measure: Callable[[], Measured]
    time: Callable[[], Latency]
    measurement: Measured | None = None
    attack: Callable[[], Robustness] | None = None
    attacked: Robustness | None = None

    @property
    def measured(self) -> Measurement:
        found = self._found
        if not isinstance(found, Measurement):
            raise RuntimeError("a task of one's own gives a score, and neither accuracy nor loss")
        return found

    @property
    def score(self) -> float:
        return self._found.score

    @property
    def divergence(self) -> float | None:
        return self._found.divergence

    @property
    def _found(self) -> Measured:
        if self.measurement is None:
            self.measurement = self.measure()
        return self.measurement

    @property
    def latency(self) -> Latency:
        return self.time()

    @property
    def robustness(self) -> Robustness:
        if self.attacked is None:
            if self.attack is None:
                raise RuntimeError("an objective of costs only asks for an attack")
            self.attacked = self.attack()
        return self.attacked


def raced_by(objectives: Sequence[Objective]) -> str | None:
    """The objective by which candidates can race: the one that is measured, beside objectives of costs alone."""
    measured = [objective for objective in objectives if not objective.costs_only]
    alone = len(measured) == 1 < len(objectives) and measured[0] in BUILT_IN
    return measured[0].name if alone and measured[0].name in KINDS else None


def _refuse_to_measure() -> Measured:
    raise RuntimeError("an objective of costs only asks for a measurement")
