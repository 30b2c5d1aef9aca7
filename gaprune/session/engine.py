"""The engine of one search: graph, statistics, importance, genome layout and evaluator of a trained network."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import torch
from torch import nn

from gaprune.data import ImageData, ImageSet, Splits
from gaprune.errors import OptionError
from gaprune.evaluate import Evaluator, Objective, Task, measure
from gaprune.evolve.ranked import RankedSpace, rank
from gaprune.progress import Reporter
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensation import Compensator, Form
from gaprune.prune.costs import Costs, cost_model
from gaprune.prune.genome import Bits
from gaprune.prune.graph import Graph
from gaprune.prune.importances import importance_function
from gaprune.prune.space import PruningSpace, SpaceOptions
from gaprune.prune.statistics import Statistics, collect, consumers, images_wanted
from gaprune.prune.taylor import neuron_taylor
from gaprune.runs import Baseline as Original
from gaprune.session.options import SearchOptions
from gaprune.session.statistics_cache import Kept
from gaprune.training import bfloat16_pays

CUDA_ROUND_TO = 8
"""Widths that tensor cores like."""

MEGABYTE = 1e6

BISECTIONS = 16

MOST_BACKWARD = 128
"""Images of a backward pass at most: it holds every layer's maps and their gradients."""


@dataclass(frozen=True)
class Origin:
    """What a network that was pruned before comes from.

    Attributes:
        costs: of the network that it was at first.
        kernels: by weight name, (out, in) kernels that it has, where some are masked.
    """

    costs: Costs
    kernels: dict[str, Bits]


def space_options(options: SearchOptions, device: torch.device) -> SpaceOptions:
    """How genomes are laid out on a device.

    Raises:
        OptionError: genes, round-to and connection-groups do not go together.
    """
    round_to = options.round_to or (CUDA_ROUND_TO if device.type == "cuda" else 1)
    genes = cast(Literal["neurons", "connections", "both"], options.genes)
    return SpaceOptions(genes, round_to, options.connection_groups)


def make_evaluator(
    options: SearchOptions,
    model: nn.Module,
    data: ImageData,
    splits: Splits,
    objectives: tuple[Objective, ...],
    reporter: Reporter,
    kept: Kept,
    origin: Origin | None = None,
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

    Raises:
        ModelError: the network cannot be pruned.
        OptionError: no network can keep to a constraint.
    """
    graph = checked_graph(model, data.image_shape)
    costs = cost_model(model, graph, data.image_shape)
    statistics = kept.statistics(lambda: _statistics(options, model, graph, data, splits.calibration, reporter))
    space_form = space_options(options, splits.search.images.device)
    free_kernels = space_form.genes != "neurons" and space_form.connection_groups == 1
    importance = importance_function(options.importance)(model, graph, statistics, kernels=free_kernels)
    space = PruningSpace(graph, costs, importance, space_form, None if origin is None else origin.kernels)
    task = Task(
        search=splits.search,
        calibration=first(splits.calibration, options.calibration_size),
        mean=data.mean,
        std=data.std,
        classes=len(data.classes),
        batch_size=options.batch_size,
        half=precision(options, splits.search.images.device) == "bfloat16",
    )
    compensator = None
    if options.compensation != "none":
        compensator = Compensator(model, graph, statistics, form=cast(Form, options.compensation))
    evaluator = Evaluator(
        model, space, task, objectives, compensator, options.constraints, None if origin is None else origin.costs
    )
    _check_within_reach(evaluator)
    return evaluator


def largest_budget(evaluator: Evaluator) -> float:
    """Share of FLOPs of the largest network on the ladder whose costs keep to the constraints; 1 where all do."""
    if evaluator.cost_violation(evaluator.space.full()) == 0:
        return 1.0
    space = rank(evaluator.space)
    low, high, found = 0.0, 1.0, space.cost(_rung(space, 0.0))
    for _ in range(BISECTIONS):
        level = (low + high) / 2
        bits = _rung(space, level)
        if evaluator.cost_violation(space.layout.pack(bits)) > 0:
            high = level
        else:
            low, found = level, space.cost(bits)
    return found


def _rung(space: RankedSpace, level: float) -> Bits:
    """A repaired vector that keeps each section's most important genes, as many as suit the level."""
    bits = np.empty(space.layout.size, dtype=np.bool_)
    for section, share in zip(space.sections, space.shares(level), strict=True):
        bits[section.slice] = space.standing[section.slice] >= 1 - share
    return space.repair(bits)


def _check_within_reach(evaluator: Evaluator) -> None:
    """Raise ``OptionError`` where even the smallest network violates a cost constraint."""
    space = evaluator.space
    smallest = space.layout.pack(space.repair(np.zeros(space.layout.size, dtype=np.bool_)))
    shortfalls = evaluator.constraints.shortfalls(space.costs(space.masks(smallest, order=False)))
    if shortfalls:
        rule = "a limit up to 1 is a share of the original's, above 1 a count"
        raise OptionError(f"no network can be so small: the smallest has {'; '.join(shortfalls)} ({rule})")


def precision(options: SearchOptions, device: torch.device) -> str:
    """What fitness is measured in: bfloat16 where the hardware multiplies it, unless told otherwise."""
    if options.precision != "auto":
        return options.precision
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
    start = time.perf_counter()
    if options.compensation != "none" or options.importance == "obs":
        used = first(images, options.statistics_size or images_wanted(consumers(model, graph)))
        with reporter.task("statistics", len(used)) as task:
            found = collect(
                model,
                graph,
                used,
                data.mean,
                data.std,
                taps=options.compensation == "taps",
                batch_size=options.batch_size,
                advance=task.advance,
            )
        seconds, megabytes = time.perf_counter() - start, found.bytes / MEGABYTE
        reporter.say(f"statistics: {found.images:,} images, {seconds:.1f} s, {megabytes:.0f} MB")
    if options.importance == "taylor":
        used, size = first(images, options.calibration_size), min(options.batch_size, MOST_BACKWARD)
        found = replace(found, taylor=neuron_taylor(model, graph, used, data.mean, data.std, batch_size=size))
    return found


def first(images: ImageSet, count: int) -> ImageSet:
    """The first ``count`` images, or all where there are fewer."""
    return images.select(torch.arange(min(count, len(images)), device=images.labels.device))


def measure_original(model: nn.Module, evaluator: Evaluator, splits: Splits, reporter: Reporter) -> Original:
    """What the whole network reaches on the search and the test images, and what it costs."""
    task = evaluator.task
    reporter.say(f"measuring the original on {len(splits.search) + len(splits.test):,} images")
    found = [
        measure(model, images, task.mean, task.std, batch_size=task.batch_size)
        for images in (splits.search, splits.test)
    ]
    costs = evaluator.original
    reporter.say(
        f"original: accuracy {found[0].accuracy:.4f} on {found[0].total:,} search images, "
        f"{found[1].accuracy:.4f} on {found[1].total:,} test images, "
        f"{costs.flops / 1e6:.1f} million FLOPs, {costs.params / 1e6:.2f} million parameters"
    )
    return Original(
        search_accuracy=found[0].accuracy,
        test_accuracy=found[1].accuracy,
        flops=costs.flops,
        params=costs.params,
        size_mb=costs.size / MEGABYTE,
    )
