"""What tied connection groups are worth in time: latency of networks with every convolution grouped.

Claim: with ``--connection-groups G`` a convolution becomes a real grouped one (channel orders included), so
the network is really faster, not only smaller by count. Measured: median latency of VGG16 and ResNet18 with
all convolutions grouped, as a ratio to the dense network, batch 1 and 128, taking turns, after warm-up;
untrained weights (time does not depend on them).
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Goal, run
from gaprune.models import build
from gaprune.progress import make_reporter
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace, SpaceOptions

IMAGE = (3, 32, 32)
GROUPS = (2, 4, 8)
BATCHES = (1, 128)

GOALS = (
    Goal("speed-up, vgg16, 4 groups, batch 128", ">=", 1.0, "times dense"),
    Goal("speed-up, resnet18, 4 groups, batch 128", ">=", 1.0, "times dense"),
)


def grouped_network(model: nn.Module, groups: int) -> tuple[nn.Module, float]:
    """``model`` with every convolution that can be grouped so, and its share of the FLOPs."""
    graph = build_graph(model, IMAGE)
    costs = cost_model(model, graph, IMAGE)
    space = PruningSpace(graph, costs, l2(model, graph), SpaceOptions("connections", 1, groups))
    bits = space.repair(np.zeros(space.layout.size, dtype=np.bool_))
    return Compactor(model, graph)(space.masks(space.layout.pack(bits))), space.cost(bits)


def latencies(networks: dict[int, nn.Module], batch: int, runs: int, device: torch.device) -> dict[int, float]:
    """Median seconds of one forward pass by number of groups, the networks taking turns."""
    images = torch.randn((batch, *IMAGE), device=device)
    seconds: dict[int, list[float]] = {groups: [] for groups in networks}
    with torch.inference_mode():
        for turn in range(runs + 2):
            for groups, network in networks.items():
                start = time.perf_counter()
                network(images)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn >= 2:
                    seconds[groups].append(time.perf_counter() - start)
    return {groups: statistics.median(taken) for groups, taken in seconds.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Latency and FLOPs of both networks, dense and grouped."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    runs, batches = (1, (1, 2)) if options.quick else (20, BATCHES)
    rows, figures = [], {}
    with make_reporter().task("connection groups", 2 * len(batches)) as task:
        for name in ("vgg16", "resnet18"):
            torch.manual_seed(0)
            model = build(name, num_classes=10).eval().to(device)
            made = {groups: grouped_network(model, groups) for groups in GROUPS}
            networks = {1: model} | {groups: network for groups, (network, _) in made.items()}
            shares = {1: 1.0} | {groups: share for groups, (_, share) in made.items()}
            for batch in batches:
                taken = latencies(networks, batch, runs, device)
                for groups, seconds in taken.items():
                    speed = taken[1] / seconds
                    rows.append(
                        {
                            "network": name,
                            "groups": groups,
                            "batch": batch,
                            "ms": round(seconds * 1e3, 3),
                            "speed_up": round(speed, 3),
                            "flops_share": round(shares[groups], 4),
                        }
                    )
                    figures[f"speed-up, {name}, {groups} groups, batch {batch}"] = speed
                task.advance(1)
    threads = torch.get_num_threads()
    return {
        "data": "none",
        "device": device.type,
        "threads": threads,
        "runs": runs,
        "figures": figures,
        "rows": rows,
    }


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure))
