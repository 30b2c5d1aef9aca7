"""Widths are multiples of what the kernels like, unless somebody says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import space_of
from torch import nn

from gaprune.options import SearchOptions, from_keywords
from gaprune.options.cli import parse
from gaprune.prune import build_graph
from gaprune.session.engine import space_options

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "runtime", "asked", "step"),
    [
        (CPU, None, None, 1),
        (CPU, "onnxruntime", None, 1),
        (CPU, "onnxruntime-int8", None, 16),
        (CUDA, None, None, 8),
        (CPU, "onnxruntime-int8", 4, 4),
        (CUDA, "torch", 1, 1),
    ],
)
def test_the_usual_step_suits_device_and_runtime_and_widths_follow(
    device: torch.device, runtime: Any, asked: int | None, step: int
) -> None:
    options = SearchOptions.of(latency_runtime=runtime, round_to=asked)
    settings = space_options(options, device)
    assert settings.round_to == step
    network = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 64, 3), nn.ReLU(), nn.Flatten())
    network.append(nn.Linear(64 * 4 * 4, 3))
    found = space_of(network, build_graph(network, (3, 8, 8)), (3, 8, 8), round_to=settings.round_to)
    random = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        mended = found.repair(random.random(found.layout.size) < share)
        for group in found.graph.groups:
            width = int(mended[group.slice].sum())
            assert width % step == 0 or width == group.size


def test_auto_is_a_word_for_it() -> None:
    assert parse(SearchOptions, ["--round-to", "auto"], "search").space.round_to is None
    assert parse(SearchOptions, ["--round-to", "8"], "search").space.round_to == 8
    assert from_keywords(SearchOptions, {"round_to": "auto"}) == {"round_to": None}
