"""Limits of costs that no network can keep to, told before anything is trained or measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from gaprune.data import ImageData
from gaprune.errors import ModelError, OptionError
from gaprune.evaluate import Constraints
from gaprune.models import build
from gaprune.options import SearchOptions
from gaprune.prune import CostModel, Graph, Masks, PruningSpace, SpaceOptions, Statistics, build_graph, cost_model
from gaprune.prune import importance_function as importance


def check_untrained(options: SearchOptions, limits: Constraints, form: SpaceOptions, data: ImageData) -> None:
    """Refuse limits out of reach of a network that is known by its name, before it is trained.

    A network that cannot be built or traced is told later, with what is known of it then.

    Args:
        options: which network.
        limits: what members should keep to.
        form: how genomes are laid out.
        data: what the network takes and tells apart.

    Raises:
        OptionError: even the smallest network is beyond a limit.
    """
    if not limits.of_costs:
        return
    try:
        with torch.random.fork_rng(devices=[]):
            network = build(options.network.model, len(data.classes), stem=options.network.stem).eval()
        graph = build_graph(network, data.image_shape, layers=options.space.layers)
        costs = cost_model(network, graph, data.image_shape)
    except ModelError:
        return
    check_costs(network, graph, costs, limits, form)


def check_costs(network: nn.Module, graph: Graph, costs: CostModel, limits: Constraints, form: SpaceOptions) -> None:
    """Refuse limits out of reach of a network, from its form alone: which channels stay does not matter to costs.

    Args:
        network: the original.
        graph: its pruning graph.
        costs: its cost formulas.
        limits: what members should keep to.
        form: how genomes are laid out.

    Raises:
        OptionError: even the smallest network is beyond a limit.
    """
    if not limits.of_costs:
        return
    kernels = form.genes != "neurons" and form.connection_groups == 1
    worth = importance("l2")(network, graph, Statistics({}, {}, 0), kernels=kernels)
    space = PruningSpace(graph, costs, worth, form)
    check_reach(space, limits.counted(space.costs(space.masks(space.full(), order=False))))


def check_reach(space: PruningSpace, limits: Constraints, time: Callable[[Masks], float] | None = None) -> None:
    """Refuse limits that the smallest network of a space does not keep to.

    Args:
        space: of the network.
        limits: shares as counts.
        time: the share of the original's time that masks keep, where that is known without building a network.

    Raises:
        OptionError: with what it has.
    """
    smallest = space.layout.pack(space.repair(np.zeros(space.layout.size, dtype=np.bool_)))
    masks = space.masks(smallest, order=False)
    shortfalls = limits.shortfalls(space.costs(masks), latency=None if time is None else time(masks))
    if shortfalls:
        rule = "a limit up to 1 is a share of the original's, above 1 a count"
        raise OptionError(f"no network can be so small: the smallest has {'; '.join(shortfalls)} ({rule})")
