"""From a network and a task of the caller's own to everything that a search needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gaprune.baseline import Baseline
from gaprune.device import choose_device, pinned
from gaprune.errors import ModelError, RunError, first_line
from gaprune.evaluate import (
    DIVERGENCE,
    Constraints,
    Evaluator,
    Objective,
    ScoredBy,
    divergence_objective,
    score_objective,
)
from gaprune.options import SCORE, SearchOptions
from gaprune.progress import Reporter
from gaprune.prune import (
    Compensator,
    Graph,
    Inputs,
    PruningSpace,
    Statistics,
    anchors_over,
    checked_graph,
    collect_over,
    cost_model,
    importance_function,
    plain,
    probe_inputs,
)
from gaprune.runs import MEGABYTE
from gaprune.runs import Baseline as Original
from gaprune.session.engine import Left, constraints, space_options
from gaprune.session.job import Before, Checked, Job, search_identity
from gaprune.session.material import TaskMaterial
from gaprune.session.reach import check_costs, check_reach
from gaprune.session.statistics_cache import Kept
from gaprune.tasks import Task, judge
from gaprune.training import digest_json, digest_tensors

SAME = 1e-3
"""Share of its score by which the original may score otherwise when a run goes on: other kernels, no other task."""


@dataclass(frozen=True)
class _Parts:
    """What the engine of a task is made of.

    Attributes:
        model: the trained network, on the device.
        task: the caller's.
        batches: its calibration batches, on the device.
        graph: of the network.
        space: its genomes.
        statistics: of every consumer's input.
        limits: what members should keep to.
    """

    model: nn.Module
    task: Task
    batches: tuple[Inputs, ...]
    graph: Graph
    space: PruningSpace
    statistics: Statistics
    limits: Constraints

    def evaluator(self, options: SearchOptions, objectives: tuple[Objective, ...]) -> Evaluator:
        """The function from genome to outcome."""
        form = options.space.compensation
        compensator = None if form == "none" else Compensator(self.model, self.graph, self.statistics, form=form)
        device = next(self.model.parameters()).device
        names = [objective.name for objective in objectives]
        by = ScoredBy(self.task, self.batches, device.type, _half(options), DIVERGENCE.name in names)
        anchors = self.statistics.anchors if options.space.recalibration == "anchored" else None
        return Evaluator(self.model, self.space, by, objectives, compensator, self.limits, anchors=anchors)


def prepare_task(
    checked: Checked, reporter: Reporter, directory: Path | None = None, before: Before | None = None
) -> Job:
    """Make a search by a task ready to run.

    Args:
        checked: what was asked for; network and task are the caller's.
        reporter: told what is used, and how long things take.
        directory: of a run to go on with, which may have kept statistics.
        before: what that run was made with.

    Raises:
        GapruneError: anything that the caller can mend, in one line.
    """
    options, own, threads = checked.options, checked.own, checked.placement.threads
    assert own.task is not None
    assert own.model is not None
    task, device = own.task, choose_device(options.machine.device)
    batches = tuple(batch.on(device) for batch in task.batches)
    model = _opened(own.model, task, device, reporter)
    since = time.perf_counter()
    weights = {"weights_sha256": digest_tensors(model.state_dict())}
    baseline = Baseline(model, (), (), "given by the caller", True, weights)
    known = before.original if before else None
    with pinned(threads):
        score = _score_of_original(model, task, known, weights)
        smallest = before.task.get("smallest") if before and before.task else None
        material = TaskMaterial(task, device, dict(smallest or {}), own.named)
        kept = Kept(directory, _statistics_key(options, material, weights, threads), device)
        parts = _parts(options, model, task, batches, kept, before.left if before else None, reporter)
        if smallest is None:
            material = replace(material, smallest=_smallest(options, parts, checked.objectives))
        objectives = tuple(_scaled(one, score, material.smallest) for one in checked.objectives)
        evaluator = parts.evaluator(options, objectives)
        check_reach(parts.space, evaluator.constraints)
        if known is None:
            known = _original(score, material, evaluator, model)
    _say_original(known, material, reporter)
    identity = search_identity(options, evaluator, threads, "bfloat16" if _half(options) else "float32")
    return Job(
        options=options,
        own=own,
        model_name=own.model_name if own.named is None else str(own.named["model"]),
        material=material,
        baseline=baseline,
        objectives=objectives,
        evaluator=evaluator,
        original=known,
        threads=threads,
        kept=kept,
        identity={**weights, **material.identity(), **identity},
        since=since,
    )


def _half(options: SearchOptions) -> bool:
    """In bfloat16 only where that is asked for: a caller's own score may not bear it."""
    return options.fitness.precision == "bfloat16"


def _opened(model: nn.Module, task: Task, device: torch.device, reporter: Reporter) -> nn.Module:
    """A copy of the caller's network on the device, in eval mode, after one look at what it does with the inputs."""
    made = plain(model)
    network, name = made.model.to(device).eval(), type(made.model).__name__
    for note in made.notes:
        reporter.say(f"{name} is {note}")
    for line in probe_inputs(network, name, task.example, "task.inputs"):
        reporter.say(line)
    for number, batch in enumerate(task.batches):
        try:
            with torch.no_grad():
                batch.first(2)(network)
        except Exception as error:  # a stranger's network may raise anything
            reason = f"{first_line(error)}; batches are inputs in the form of task.inputs, without targets"
            raise ModelError(f"{name} cannot take task.calibration[{number}] ({batch}): {reason}") from error
    return network


def _score_of_original(model: nn.Module, task: Task, known: Original | None, weights: Mapping[str, str]) -> float:
    """What the original scores, once it is sure that scoring leaves a network as it is.

    Raises:
        ModelError: the score cannot be had, is not finite or changes the network.
        RunError: a run goes on whose original scored otherwise: the task is another one.
    """
    found = _judged(model, task.score, "task.score")
    if digest_tensors(model.state_dict()) != weights["weights_sha256"]:
        raise ModelError("task.score changes the network that it scores: let it work on a copy, copy.deepcopy(network)")
    if known is not None and not abs(found - known.search_accuracy) <= SAME * max(abs(found), 1.0):
        raise RunError(
            f"the task gives the original a {task.name} of {found:.6g}, and gave {known.search_accuracy:.6g} when the "
            "run began: give the same task on the same data"
        )
    return found


def _judged(model: nn.Module, by: Callable[[nn.Module], Any], what: str) -> float:
    try:
        found = judge(model, by)
    except Exception as error:  # a stranger's function may raise anything
        raise ModelError(f"{what} fails on the original: {type(error).__name__}: {first_line(error)}") from error
    if not np.isfinite(found):
        raise ModelError(f"{what} gives {found} for the original, expected a finite number")
    return found


def _parts(
    options: SearchOptions,
    model: nn.Module,
    task: Task,
    batches: tuple[Inputs, ...],
    kept: Kept,
    left: Left | None,
    reporter: Reporter,
) -> _Parts:
    """Trace the network, find its statistics and lay out its genomes."""
    reporter.say("graph: tracing the network, and checking it with half of its channels gone")
    whole, neurons = ((), None) if left is None else (left.layers, left.neurons)
    graph = checked_graph(model, task.example, layers=options.space.layers, whole=whole, neurons=neurons)
    costs, limits = cost_model(model, graph, task.example), constraints(options)
    space_form = space_options(options, next(model.parameters()).device)
    check_costs(model, graph, costs, limits, space_form)
    statistics = kept.statistics(partial(_statistics, options, model, graph, batches, reporter))
    free_kernels = space_form.genes != "neurons" and space_form.connection_groups == 1
    score = importance_function(options.space.importance)
    importance = score(model, graph, statistics, kernels=free_kernels, reporter=reporter)
    space = PruningSpace(graph, costs, importance, space_form)
    return _Parts(model, task, batches, graph, space, statistics, limits)


def _statistics(
    options: SearchOptions, model: nn.Module, graph: Graph, batches: tuple[Inputs, ...], reporter: Reporter
) -> Statistics:
    """What is to be known of every consumer's input; nothing where nobody asks."""
    found = Statistics({}, {}, 0)
    if options.space.compensation != "none" or options.space.importance == "obs":
        taps = options.space.compensation == "taps"
        found = collect_over(model, graph, batches, taps=taps, reporter=reporter)
        reporter.say(f"statistics: {found.images:,} samples, {found.bytes / MEGABYTE:.0f} MB")
    if options.space.recalibration == "anchored":
        found = replace(found, anchors=anchors_over(model, batches))
    return found


def _statistics_key(options: SearchOptions, material: TaskMaterial, weights: Mapping[str, str], threads: int) -> str:
    """What statistics depend on; with equal keys they are equal."""
    names = ("compensation", "importance", "recalibration", "layers")
    told = {name: getattr(options, name) for name in names}
    return digest_json({**weights, **material.identity(), "options": told, "threads": threads})


def _smallest(options: SearchOptions, parts: _Parts, objectives: tuple[Objective, ...]) -> dict[str, float]:
    """What the smallest network gets, by objective of the task, as far as it gets anything finite."""
    space = parts.space
    evaluator = parts.evaluator(options, objectives)
    genome = space.layout.pack(space.repair(np.zeros(space.layout.size, dtype=np.bool_)))
    try:
        found = evaluator.fitness(space.masks(genome)).values()
    except Exception:  # whatever it is, a search may do without the scale
        return {}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _scaled(objective: Objective, score: float, smallest: Mapping[str, float]) -> Objective:
    """The objective with the scale of this network."""
    if objective.name == SCORE:
        return score_objective(score, smallest.get(SCORE, float("nan")))
    if objective is DIVERGENCE:
        return divergence_objective(smallest.get(DIVERGENCE.name, float("nan")))
    return objective


def _original(score: float, material: TaskMaterial, evaluator: Evaluator, model: nn.Module) -> Original:
    """What the whole network reaches and costs."""
    test, costs = material.task.test, evaluator.original
    return Original(
        search_accuracy=score,
        test_accuracy=None if test is None else _judged(model, test, "task.test"),
        flops=costs.flops,
        params=costs.params,
        size_mb=costs.size / MEGABYTE,
    )


def _say_original(original: Original, material: TaskMaterial, reporter: Reporter) -> None:
    tested = "" if original.test_accuracy is None else f" ({original.test_accuracy:.6g} on its test data)"
    reporter.say(
        f"original: {material.score} {original.search_accuracy:.6g}{tested}, "
        f"{original.flops / 1e6:.4g} million FLOPs, {original.params / 1e6:.4g} million parameters"
    )
