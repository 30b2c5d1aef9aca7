"""The table of a search by latency: layers timed once a device, corrected by a few whole networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.data import default_cache_dir
from gaprune.genome import Bits
from gaprune.progress import Reporter
from gaprune.prune import Compactor, Graph, Masks, fold
from gaprune.runs import read_json_object, write_json
from gaprune.runtimes import (
    Conditions,
    Grid,
    Stopwatch,
    TableClock,
    fit_correction,
    needed,
    shapes_of,
    sums,
    time_grid,
)
from gaprune.training import digest_json

ONNXRUNTIME = "onnxruntime"
"""Its module, and the beginning of the names of the runtimes that it is."""

FITTED, HELD_OUT = 8, 4
"""Whole networks that a table is corrected by, and those that tell its error."""

LEAST = 0.1
"""Share of the widths that the smallest of these networks keeps."""

SPREAD = 0.4
"""Standard deviation of the logarithm by which a group's share is bent: no two networks narrow alike."""


def make_table(
    stopwatch: Stopwatch,
    model: nn.Module,
    graph: Graph,
    images: Tensor,
    round_to: int,
    cache_dir: Path | None,
    reporter: Reporter,
) -> TableClock:
    """Time single layers, and some networks to correct their sum by.

    Args:
        stopwatch: of the original.
        model: the original, in eval mode.
        graph: of it.
        images: a batch, on its device.
        round_to: widths are multiples of this.
        cache_dir: where tables are kept; ``None`` is the user's cache folder.
        reporter: told how it goes, and how far off the table is.
    """
    grids = layer_times(stopwatch.conditions, model, graph, images, round_to, cache_dir, reporter)
    networks = some_networks(graph, round_to)
    seconds = whole_times(stopwatch, model, graph, networks, reporter)
    told = np.array([sums(graph.layers, grids, masks) for masks in networks])
    correction = fit_correction(told[:, 0], told[:, 1], np.array(seconds), HELD_OUT)
    reporter.say(
        f"latency: {HELD_OUT} networks that the table has not seen are missed by {correction.error:.1%} (median), "
        f"{stopwatch.conditions}"
    )
    return TableClock(stopwatch, graph.layers, grids, correction)


def whole_times(
    stopwatch: Stopwatch, model: nn.Module, graph: Graph, networks: Sequence[Masks], reporter: Reporter
) -> list[float]:
    """Seconds of some networks by the stopwatch.

    Args:
        stopwatch: of the original.
        model: the original, in eval mode.
        graph: of it.
        networks: what each keeps.
        reporter: told how it goes.
    """
    compact = Compactor(model, graph)

    def built(masks: Masks) -> nn.Module:
        with torch.no_grad():
            network = compact(masks, None)
            fold(network, graph.norms)
        return network

    seconds: list[float] = []
    with reporter.task("latency: whole networks", len(networks)) as task:
        for masks in networks:
            seconds.append(stopwatch(masks, partial(built, masks)).seconds)
            task.advance(1)
    return seconds


def layer_times(
    conditions: Conditions,
    model: nn.Module,
    graph: Graph,
    images: Tensor,
    round_to: int,
    cache_dir: Path | None,
    reporter: Reporter,
) -> list[Grid | None]:
    """The grid of every layer, those of an earlier search on this device among them; ``None`` where there is none."""
    made_by = {"torch": torch.__version__, **_runtime_version(conditions.runtime)}
    name = digest_json({**conditions.record(), **made_by, "round_to": round_to})[:16]
    file = (cache_dir or default_cache_dir()) / "latency" / f"{name}.json"
    kept: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        kept = read_json_object(file)
    grids: list[Grid | None] = []
    shapes = shapes_of(model, graph.layers, images)
    with reporter.task("latency: single layers", len(shapes)) as task:
        for layer, shape in zip(graph.layers, shapes, strict=True):
            task.advance(1)
            if shape is None:
                grids.append(None)
                continue
            fixed = bool((layer.inputs < 0).all()), bool((layer.outputs < 0).all())
            key = json.dumps([asdict(shape), fixed])
            if key not in kept:
                kept[key] = asdict(time_grid(shape, fixed, round_to, conditions))
                with suppress(OSError):
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_json(file, kept)
            grids.append(Grid.of(kept[key]))
    return grids


def _runtime_version(runtime: str) -> dict[str, str]:
    """What runs the networks, where that is not torch: another version may have other kernels."""
    return {ONNXRUNTIME: needed(ONNXRUNTIME).__version__} if runtime.startswith(ONNXRUNTIME) else {}


def some_networks(graph: Graph, round_to: int) -> list[Masks]:
    """Networks of all sizes, the whole one among those that correct; always the same ones."""
    random = np.random.default_rng(0)
    levels = [1.0, *np.geomspace(LEAST, 0.9, FITTED - 1), *np.geomspace(1.3 * LEAST, 0.8, HELD_OUT)]
    return [_masks(graph, level, random, round_to) for level in levels]


def _masks(graph: Graph, level: float, random: np.random.Generator, round_to: int) -> Masks:
    neurons: Bits = np.zeros(graph.neurons, dtype=np.bool_)
    for group in graph.groups:
        share = level ** np.exp(random.normal(0, SPREAD))
        width = group.size if group.size <= round_to else max(round_to, round(share * group.size / round_to) * round_to)
        neurons[group.start : group.start + min(width, group.size)] = True
    return Masks(neurons)
