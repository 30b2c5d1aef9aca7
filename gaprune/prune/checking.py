"""A graph is believed only after compact and masked networks have agreed on it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from gaprune.errors import ModelError, first_line
from gaprune.prune.compact import Compactor, masked_network
from gaprune.prune.graph import ChannelGroup, Graph, build_graph, without_groups
from gaprune.prune.masks import Masks
from gaprune.prune.modes import evaluating
from gaprune.prune.tracing import BATCH

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest relative difference that rounding may cause; a wrong graph is off by far more."""

DIFFER = "compact and masked networks differ"

logger = logging.getLogger(__name__)


def checked_graph(model: nn.Module, image_shape: tuple[int, int, int]) -> Graph:
    """The pruning graph of ``model``, less the channel groups whose removal does not work out.

    One random half of all neurons is removed and compact and masked networks are compared; when they differ
    or the compact one raises (a forward with widths written into it), each group is tried alone and those
    that fail are left whole. Logs one warning for each layer left unpruned, with the reason.

    Raises:
        ModelError: the network cannot be traced, answers at random, or nothing remains that may be removed.
    """
    graph = build_graph(model, image_shape)
    example = _example(model, image_shape)
    if _failure(model, graph, graph.groups, example) is not None:
        _check_repeats(model, example)
        failing = {group.name: _failure(model, graph, (group,), example) for group in graph.groups}
        graph = without_groups(graph, {name: reason for name, reason in failing.items() if reason is not None})
        reason = _failure(model, graph, graph.groups, example)
        if not graph.groups or reason is not None:
            raise ModelError(f"{type(model).__name__} cannot be pruned: {reason or next(iter(failing.values()))}")
    for layer, why in graph.unpruned:
        logger.warning("left unpruned: %s: %s", layer, why)
    return graph


def _example(model: nn.Module, image_shape: tuple[int, int, int]) -> Tensor:
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((BATCH, *image_shape), generator=generator)
    return images.to(parameter.device, parameter.dtype)


def _failure(model: nn.Module, graph: Graph, groups: tuple[ChannelGroup, ...], example: Tensor) -> str | None:
    """Why removing half of these groups' neurons goes wrong; ``None`` when it does not."""
    masks = _half(graph, groups)
    return _apart(lambda: Compactor(model, graph)(masks)(example), lambda: masked_network(model, graph, masks)(example))


def _check_repeats(model: nn.Module, example: Tensor) -> None:
    """Raise ``ModelError`` where the network itself answers differently each time, so that nothing can be compared."""
    with evaluating(model):
        if _apart(lambda: model(example), lambda: model(example)) == DIFFER:
            raise ModelError(
                f"{type(model).__name__} gives other outputs for the same images each time, though in eval mode: "
                "F.dropout without training=self.training?"
            )


def _apart(first: Callable[[], object], second: Callable[[], object]) -> str | None:
    """Why two outputs are not the same; ``None`` where they are but for rounding."""
    try:
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            found, wanted = first(), second()  # TF32 alone would set them further apart than the tolerance
    except Exception as error:  # whatever a foreign forward raises is the reason
        reason = first_line(error)
        return f"it fails without some of its channels ({reason[:120]})"
    if not (isinstance(found, Tensor) and isinstance(wanted, Tensor)):
        return "its output is not one tensor"
    scale = wanted.abs().max().clamp_min(1e-12)
    apart = float((found - wanted).abs().max() / scale)
    return None if apart <= TOLERANCE.get(wanted.dtype, 0.05) else DIFFER


def _half(graph: Graph, groups: tuple[ChannelGroup, ...]) -> Masks:
    rng = np.random.default_rng(0)
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    for group in groups:
        gone = rng.permutation(group.size)[: group.size // 2]
        neurons[group.start + gone] = False
    return replace(Masks.full(graph), neurons=neurons)
