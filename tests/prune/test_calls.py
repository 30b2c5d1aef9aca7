"""A layer that is called by keyword is looked at like one that is called by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, SHAPE, STD, chain, image_set
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.compensate.statistics import collect
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.taylor import neuron_taylor


def by_keyword(s: Any, x: Tensor) -> Tensor:
    x = F.relu(s.norm2(s.conv2(input=F.relu(s.norm1(s.conv1(input=x))))))
    out: Tensor = s.head(input=x.mean((2, 3)))
    return out


@pytest.fixture
def both() -> tuple[nn.Module, nn.Module]:
    """One network, called by position and by keyword."""
    torch.manual_seed(0)
    plain: Any = chain().eval()
    named: Any = chain().eval()
    named.load_state_dict(plain.state_dict())
    named.run = by_keyword
    return plain, named


def test_statistics_are_the_same(both: tuple[nn.Module, nn.Module]) -> None:
    wanted, found = (collect(model, build_graph(model, SHAPE), image_set(), MEAN, STD) for model in both)
    assert wanted.fitted.keys() == found.fitted.keys() == {"conv2.weight", "head.weight"}
    for weight, moments in wanted.fitted.items():
        assert torch.equal(moments.products, found.fitted[weight].products)


def test_taylor_is_the_same(both: tuple[nn.Module, nn.Module]) -> None:
    wanted, found = (neuron_taylor(model, build_graph(model, SHAPE), image_set(), MEAN, STD) for model in both)
    assert wanted.any()
    assert np.array_equal(wanted, found)


def test_polish_is_the_same(both: tuple[nn.Module, nn.Module]) -> None:
    polished = []
    for model in both:
        graph = build_graph(model, SHAPE)
        masks = Masks(np.arange(graph.neurons) % 3 > 0)
        network = Compactor(model, graph)(masks)
        Polisher(model, graph, image_set(), MEAN, STD, batch_size=8)(network, masks)
        polished.append(network.state_dict())
    assert all(torch.equal(tensor, polished[1][name]) for name, tensor in polished[0].items())
