"""The clock of a search: what runs networks that are timed, and what the original takes there."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gaprune.data import ImageData, Splits, normalise
from gaprune.errors import OptionError
from gaprune.evaluate import Objective, is_timed
from gaprune.options import LATENCY, SearchOptions, wants_latency
from gaprune.progress import Reporter
from gaprune.prune import Graph, fold
from gaprune.runs import processor
from gaprune.runtimes import Clock, Conditions, Stopwatch, TableClock, check_runtime, from_record
from gaprune.session.layer_table import make_table
from gaprune.session.placement import Placement

SECONDS_OF_ORIGINAL = "original_seconds"
"""In a manifest's entry of latency: what the original takes for a batch."""

TABLE = "table"
"""Likewise: times of single layers, and how their sum is corrected."""


def check_latency_placed(options: SearchOptions, objectives: Sequence[Objective], placement: Placement) -> None:
    """Refuse a search by latency where nothing can be timed.

    Raises:
        OptionError: candidates would be evaluated side by side, or network after network is searched.
    """
    if not judges_latency(options, objectives):
        return
    if options.again.iterations > 1:
        raise OptionError("iterations cannot be searched by latency: leave one of them out")
    if placement.ray and placement.workers != 1 and options.latency.latency_from == "stopwatch":
        raise OptionError(
            "the stopwatch times one network at a time on a machine that does nothing else: with Ray add --workers 1, "
            "or leave --latency-from stopwatch out"
        )


def judges_latency(options: SearchOptions, objectives: Sequence[Objective]) -> bool:
    """Whether every candidate is timed, and not the front alone."""
    return options.latency.max_latency is not None or any(map(is_timed, objectives))


def make_clock(
    options: SearchOptions,
    model: nn.Module,
    graph: Graph,
    data: ImageData,
    splits: Splits,
    objectives: Sequence[Objective],
    threads: int,
    round_to: int,
    reporter: Reporter,
    before: dict[str, Any] | None = None,
) -> Clock | None:
    """The clock that the options ask for; ``None`` where nobody asks.

    Args:
        options: what was asked for.
        model: the original, on the images' device.
        graph: of it.
        data: for the normalisation.
        splits: whose calibration images are fed.
        objectives: what is minimised.
        threads: CPU threads of an evaluation.
        round_to: widths are multiples of this.
        reporter: told what the original takes.
        before: what the manifest of a run that goes on says of latency; the original is not timed again then.

    Raises:
        MethodError: the runtime is missing, or does not take the network.
    """
    if not wants_latency(options) and not judges_latency(options, objectives):
        return None
    asked, device = options.latency, splits.search.images.device
    conditions = Conditions(
        runtime=asked.latency_runtime or "torch",
        batch=asked.latency_batch,
        threads=asked.latency_threads or threads,
        device=device.type,
        hardware=torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
    )
    if before is None:
        check_runtime(conditions.runtime, device)
    whole = copy.deepcopy(model).eval()
    fold(whole, graph.norms)
    images = splits.calibration.images
    batch = images[torch.arange(conditions.batch, device=images.device) % len(images)]
    reference = None if before is None else float(before[SECONDS_OF_ORIGINAL])
    fed = normalise(batch, data.mean, data.std)
    clock = Stopwatch(whole, fed, conditions, reference)
    if before is not None:
        return clock if TABLE not in before else from_record(clock, graph.layers, before[TABLE])
    reporter.say(f"latency: the original takes {1e3 * clock.reference:.3g} ms, {conditions}")
    if asked.latency_from == "stopwatch" or not judges_latency(options, objectives):
        return clock
    return make_table(clock, model, graph, fed, round_to, options.run.cache_dir, reporter)


def latency_record(clock: Clock | None) -> dict[str, Any]:
    """What a manifest says of a clock: nothing where there is none."""
    if clock is None:
        return {}
    table = {TABLE: clock.record()} if isinstance(clock, TableClock) else {}
    return {LATENCY: {**clock.conditions.record(), SECONDS_OF_ORIGINAL: clock.reference, **table}}
