"""The moments of consumers' inputs, for networks that are not just two-dimensional convolutions in a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, Net, conv, image_set, random_masks, space_of
from torch import nn
from torch.nn import functional as F

from gaprune.data.images import normalise
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.statistics import collect, consumers
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import build_graph


def signal() -> nn.Module:
    return Net(
        lambda s, x: s.head(s.b(F.relu(s.a(x.flatten(2)))).mean(2)),
        a=nn.Conv1d(3, 6, 3),
        b=nn.Conv1d(6, 4, 3, padding=1),
        head=nn.Linear(4, 3),
    )


def channels_last() -> nn.Module:
    """A linear layer at every position: as many channels as rows, so that a mistake would not be seen."""
    return Net(
        lambda s, x: s.head(F.relu(s.conv1(x)).permute(0, 2, 3, 1)).mean((1, 2)),
        conv1=conv(3, 8),
        head=nn.Linear(8, 3),
    )


def functional() -> nn.Module:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 6, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.conv2d(x, self.weight)

    return nn.Sequential(conv(3, 6), nn.ReLU(), Own(), nn.Flatten(), nn.Linear(180, 3))


NETWORKS = {**PRUNABLE, "signal": signal, "channels last": channels_last, "functional": functional}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_can_be_compensated(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    graph = build_graph(model, SHAPE)
    compensator = Compensator(model, graph, collect(model, graph, image_set(), MEAN, STD, batch_size=8))
    for options in ({"genes": "neurons"}, {"genes": "both", "connection_groups": 1}):
        masks = random_masks(space_of(model, graph, **options), 1)
        network = Compactor(model, graph)(masks, compensator(masks))
        assert torch.isfinite(network(torch.randn(2, *SHAPE))).all()


def test_a_linear_layer_at_every_position_is_measured_over_its_features() -> None:
    torch.manual_seed(0)
    model: Any = channels_last().eval()
    found = image_set()
    statistics = collect(model, build_graph(model, SHAPE), found, MEAN, STD, batch_size=8)
    with torch.no_grad():
        x = F.relu(model.conv1(normalise(found.images[:24], MEAN, STD))).transpose(0, 1).flatten(1).double()
    moments = statistics.fitted["head.weight"]
    torch.testing.assert_close(moments.mean, x.mean(1))
    torch.testing.assert_close(moments.covariance, torch.cov(x, correction=0))


def test_collecting_leaves_every_module_in_its_mode() -> None:
    model = PRUNABLE["chain"]().train()
    model.norm1.eval()
    modes = [module.training for module in model.modules()]
    statistics = collect(model, build_graph(model, SHAPE), image_set(), MEAN, STD)
    assert [module.training for module in model.modules()] == modes
    assert statistics.images == 30
    assert set(statistics.fitted) == {"conv2.weight", "head.weight"} == set(consumers(model, build_graph(model, SHAPE)))
