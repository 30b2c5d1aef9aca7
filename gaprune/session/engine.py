"""The engine of one search: graph, statistics, importance, genome layout and evaluator of a trained network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from gaprune.data import ImageData, ImageSet, Splits, first, interleaved
from gaprune.evaluate import (
    DIVERGENCE,
    Answers,
    Constraints,
    Evaluator,
    FitnessTask,
    Measurement,
    Objective,
    is_timed,
    measure,
)
from gaprune.evolve import largest_cost
from gaprune.genome import Bits
from gaprune.options import Layers, SearchOptions, latency_limit
from gaprune.progress import Reporter
from gaprune.prune import (
    Compensator,
    Costs,
    Graph,
    PruningSpace,
    SpaceOptions,
    Statistics,
    checked_graph,
    collect,
    consumers,
    cost_model,
    images_wanted,
    importance_function,
    neuron_taylor,
    take_anchors,
)
from gaprune.runs import MEGABYTE
from gaprune.runs import Baseline as Original
from gaprune.runtimes import Clock, TableClock, WidthSeconds
from gaprune.session.polishing import polish_of_candidates
from gaprune.session.reach import check_costs, check_reach
from gaprune.session.statistics_cache import Kept
from gaprune.session.timing import make_clock
from gaprune.training import bfloat16_pays

CUDA_ROUND_TO = 8
"""Widths that tensor cores like."""

INT8_ROUND_TO = 16
"""Widths that 8-bit kernels of a CPU fill a register with."""

MOST_STATISTICS = 4096
"""Images for covariances unless told otherwise."""

MOST_BACKWARD = 128
"""Images of a backward pass at most: it holds every layer's maps and their gradients."""


@dataclass(frozen=True)
class Origin:
    """What a network that was pruned before comes from.

    Attributes:
        costs: of the network that it was at first.
        kernels: by weight name, (out, in) kernels that it has, where some are masked.
        answers: of the network that it was at first, of the search images, where a search asks for them.
    """

    costs: Costs
    kernels: dict[str, Bits]
    answers: Answers | None = None


@dataclass(frozen=True)
class Left:
    """What a run that goes on could prune when it began.

    Attributes:
        neurons: how many; ``None`` where that is not known.
        layers: those that it left whole, at least in part.
    """

    neurons: int | None
    layers: tuple[str, ...]


def space_options(options: SearchOptions, device: torch.device) -> SpaceOptions:
    """How genomes are laid out on a device.

    Raises:
        OptionError: genes, round-to and connection-groups do not go together.
    """
    round_to = options.space.round_to or usual_rounding(device, options.latency.latency_runtime)
    return SpaceOptions(options.space.genes, round_to, options.space.connection_groups)


def usual_rounding(device: torch.device, runtime: str | None) -> int:
    """What widths are multiples of where nobody says.

    Args:
        device: where networks run.
        runtime: what runs networks that are timed.
    """
    if device.type == "cuda":
        return CUDA_ROUND_TO
    return INT8_ROUND_TO if runtime is not None and runtime.endswith("int8") else 1


def constraints(options: SearchOptions, clock: Clock | None = None) -> Constraints:
    """What members should keep to; ``OptionError`` for a limit that says nothing."""
    limits, latency = options.fitness, None
    if clock is not None and options.latency.max_latency is not None:
        limit, share = latency_limit(options.latency.max_latency)
        latency = limit if share else limit / clock.reference
    return Constraints(limits.max_flops, limits.max_params, limits.max_size, limits.min_accuracy, latency)


def make_evaluator(
    options: SearchOptions,
    model: nn.Module,
    data: ImageData,
    splits: Splits,
    objectives: tuple[Objective, ...],
    reporter: Reporter,
    kept: Kept,
    origin: Origin | None = None,
    *,
    threads: int | None = None,
    timed: dict[str, Any] | None = None,
    left: Left | None = None,
) -> Evaluator:
    """Trace the network, find its statistics and make the function from genome to outcome.

    Args:
        options: what was asked for.
        model: the trained network.
        data: for shape, normalisation and classes.
        splits: on the device.
        objectives: what is minimised.
        reporter: told how long statistics take.
        kept: statistics of an earlier preparation.
        origin: what ``model`` was pruned from, if it was; candidates are compared with that.
        threads: CPU threads of an evaluation.
        timed: what the manifest of a run that goes on says of latency.
        left: what stayed whole when the run began, if it goes on.

    Raises:
        ModelError: the network cannot be pruned.
        OptionError: no network can keep to a constraint.
    """
    if options.fitness.racing < 1:
        splits = replace(splits, search=_fair(splits.search, options.evolution.seed))
    reporter.say("graph: tracing the network, and checking it with half of its channels gone")
    graph = _graph(model, data, options.space.layers, left)
    costs = cost_model(model, graph, data.image_shape)
    space_form = space_options(options, splits.search.images.device)
    if origin is None:
        check_costs(model, graph, costs, constraints(options), space_form)
    statistics = kept.statistics(lambda: _statistics(options, model, graph, data, splits.calibration, reporter))
    free_kernels = space_form.genes != "neurons" and space_form.connection_groups == 1
    score = importance_function(options.space.importance)
    importance = score(model, graph, statistics, kernels=free_kernels, reporter=reporter)
    pinned_threads = threads or torch.get_num_threads()
    clock = make_clock(
        options, model, graph, data, splits, objectives, pinned_threads, space_form.round_to, reporter, timed
    )
    table = clock if isinstance(clock, TableClock) else None
    present = None if origin is None else origin.kernels
    if table is None:
        space = PruningSpace(graph, costs, importance, space_form, present)
    else:
        seconds = WidthSeconds(graph, table)
        space = PruningSpace(graph, costs, importance, space_form, present, width_costs=seconds, price=table.share)
    answers = _answers(options, model, data, splits, objectives) if origin is None else origin.answers
    compensator = None
    if options.space.compensation != "none":
        compensator = Compensator(model, graph, statistics, form=options.space.compensation)
    evaluator = Evaluator(
        model,
        space,
        _fitness_task(options, data, splits, answers),
        objectives if table is None else tuple(_looked_up(one) for one in objectives),
        compensator,
        constraints(options, clock),
        None if origin is None else origin.costs,
        statistics.anchors if options.space.recalibration == "anchored" else None,
        clock,
        polish_of_candidates(options, model, graph, data, splits.calibration, reporter),
    )
    check_reach(space, evaluator.constraints, None if table is None else table.share)
    return evaluator


def _fitness_task(options: SearchOptions, data: ImageData, splits: Splits, answers: Answers | None) -> FitnessTask:
    return FitnessTask(
        search=splits.search,
        calibration=first(splits.calibration, options.images.calibration_size).loaded(),
        mean=data.mean,
        std=data.std,
        classes=len(data.classes),
        batch_size=options.machine.batch_size,
        half=precision(options, splits.search.images.device) == "bfloat16",
        answers=answers,
        racing=options.fitness.racing,
    )


def _looked_up(objective: Objective) -> Objective:
    """Latency that a table tells is known before anything is built, as costs are."""
    return replace(objective, costs_only=True) if is_timed(objective) else objective


def _answers(
    options: SearchOptions, model: nn.Module, data: ImageData, splits: Splits, objectives: tuple[Objective, ...]
) -> Answers | None:
    """What the original says of the search images, where the divergence from it is an objective."""
    if DIVERGENCE not in objectives:
        return None
    size, temperature = options.machine.batch_size, options.fitness.fitness_temperature
    return Answers.of(model, splits.search, data.mean, data.std, batch_size=size, temperature=temperature)


def _fair(images: ImageSet, seed: int) -> ImageSet:
    """The same images in an order in which each rung of a race is a fair sample of the classes."""
    return images.select(interleaved(images.labels, seed=seed).to(images.labels.device))


def _graph(model: nn.Module, data: ImageData, layers: Layers, left: Left | None) -> Graph:
    """The pruning graph; of a run that goes on the one that it began with, whatever is understood by now."""
    if left is None:
        return checked_graph(model, data.image_shape, layers=layers)
    return checked_graph(model, data.image_shape, layers=layers, whole=left.layers, neurons=left.neurons)


def largest_budget(evaluator: Evaluator) -> float:
    """Share of FLOPs of the largest network on the ladder whose costs keep to the constraints; 1 where all do."""
    if evaluator.cost_violation(evaluator.space.full()) == 0:
        return 1.0
    space = evaluator.space
    return largest_cost(space, lambda bits: evaluator.cost_violation(space.layout.pack(bits)) == 0)


def precision(options: SearchOptions, device: torch.device) -> str:
    """What fitness is measured in: bfloat16 where the hardware multiplies it, unless told otherwise."""
    if options.fitness.precision != "auto":
        return options.fitness.precision
    return "bfloat16" if bfloat16_pays(device) else "float32"


def _statistics(
    options: SearchOptions,
    model: nn.Module,
    graph: Graph,
    data: ImageData,
    images: ImageSet,
    reporter: Reporter,
) -> Statistics:
    """What is to be known of every consumer's input; nothing where nobody asks."""
    found = Statistics({}, {}, 0)
    if options.space.compensation != "none" or options.space.importance == "obs":
        used = first(images, statistics_images(options, images_wanted(consumers(model, graph))))
        found = collect(
            model,
            graph,
            used,
            data.mean,
            data.std,
            taps=options.space.compensation == "taps",
            batch_size=options.machine.batch_size,
            reporter=reporter,
        )
        reporter.say(f"statistics: {found.images:,} images, {found.bytes / MEGABYTE:.0f} MB")
    if options.space.importance == "taylor":
        used, size = first(images, options.images.calibration_size), min(options.machine.batch_size, MOST_BACKWARD)
        found = replace(found, taylor=neuron_taylor(model, graph, used, data.mean, data.std, batch_size=size))
    if options.space.recalibration == "anchored":
        used = first(images, options.images.calibration_size)
        anchors = take_anchors(model, used, data.mean, data.std, batch_size=options.machine.batch_size)
        found = replace(found, anchors=anchors)
    return found


def statistics_images(options: SearchOptions, wanted: int = MOST_STATISTICS) -> int:
    """Training images for covariances: as many as were asked for, or else as are wanted.

    Args:
        options: what was asked for.
        wanted: by the layers; as long as these are not known, the most that are kept for it.
    """
    return options.images.statistics_size or wanted


def measure_original(
    model: nn.Module, evaluator: Evaluator, splits: Splits, searched: Measurement, reporter: Reporter
) -> Original:
    """What the whole network reaches on the test images, too, and what it costs.

    Args:
        model: the network.
        evaluator: of it.
        splits: on its device.
        searched: what it reaches on the search images.
        reporter: told how it goes.
    """
    task = evaluator.images
    with reporter.task("measuring the original on test images", len(splits.test)) as told:
        tested = measure(model, splits.test, task.mean, task.std, batch_size=task.batch_size, advance=told.advance)
    costs = evaluator.original
    return Original(
        search_accuracy=searched.accuracy,
        test_accuracy=tested.accuracy,
        flops=costs.flops,
        params=costs.params,
        size_mb=costs.size / MEGABYTE,
    )


def say_original(original: Original, splits: Splits, reporter: Reporter) -> None:
    """Say what the whole network reaches and costs."""
    reporter.say(
        f"original: accuracy {original.search_accuracy:.4f} on {len(splits.search):,} search images, "
        f"{original.test_accuracy:.4f} on {len(splits.test):,} test images, "
        f"{original.flops / 1e6:.1f} million FLOPs, {original.params / 1e6:.2f} million parameters"
    )
