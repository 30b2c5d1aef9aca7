"""Reductions over channels, and weights that are computed at each call: both see the kept channels alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import SHAPE, Net, conv, images, pooled, prepared, space_of
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph

KEPT = torch.tensor([True, False, True, True, False, True])


class Standardised(nn.Conv2d):
    """Weight standardisation by batch norm, as timm has it."""

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Scaled(nn.Conv2d):
    """The same with a gain for each output, as in networks without norms."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 1.5))
        self.scale = self.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        rows, gain = self.weight.reshape(1, self.out_channels, -1), (self.gain * self.scale).view(-1)
        weight = F.batch_norm(rows, None, None, weight=gain, training=True).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Written(nn.Conv2d):
    """Weight standardisation written out."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Normed(nn.Conv2d):
    """Weight norm."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.length = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, torch._weight_norm(self.weight, self.length, 0), self.bias, self.stride, self.padding)


def around(run: Callable[[Any, Tensor], Tensor], **parts: Any) -> nn.Module:
    """Two convolutions with ``run`` between them."""
    usual = {"conv1": conv(3, 6), "conv2": conv(6, 5), "head": nn.Linear(5, 3)}
    return Net(lambda s, x: pooled(s, F.relu(s.conv2(run(s, F.relu(s.conv1(x)))))), **(usual | parts))


def response_norm(s: Any, x: Tensor) -> Tensor:
    """Global response normalisation of ConvNeXt V2."""
    size = x.norm(p=2, dim=(2, 3), keepdim=True)
    share = size / (size.mean(1, keepdim=True) + 1e-6)
    return x + torch.addcmul(s.shift.view(1, -1, 1, 1), s.gain.view(1, -1, 1, 1), x * share)


def spatial_gate(s: Any, x: Tensor) -> Tensor:
    """Attention over space of CBAM."""
    seen = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0], x.amax(1, keepdim=True)], 1)
    return x * torch.sigmoid(s.gate(seen))


def channel_attention(s: Any, x: Tensor) -> Tensor:
    """ECA: a convolution that slides over the channels' means."""
    share = torch.sigmoid(s.slide(x.mean((2, 3)).view(len(x), 1, -1)))
    return x * share.view(len(x), -1, 1, 1)


def moments(_: Any, x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    low, total = torch.min(x, 1, keepdim=True).values, torch.sum(x, dim=1, keepdim=True)
    x = (x - mean) / (variance + x.std(1, keepdim=True) + 1).sqrt()
    return x + low * total + x.logsumexp(1, keepdim=True)


SEEING: dict[str, Callable[[], nn.Module]] = {
    "global response norm": lambda: around(
        response_norm, gain=nn.Parameter(torch.rand(6) + 0.5), shift=nn.Parameter(torch.rand(6))
    ),
    "attention over space": lambda: around(spatial_gate, gate=conv(3, 1)),
    "moments over channels": lambda: around(moments),
    "two means of the same": lambda: around(lambda s, x: x * x.mean(1, keepdim=True) + x.sum((1, 2), keepdim=True)),
    "a mean of all": lambda: around(lambda s, x: x * x.mean((1, 2, 3), keepdim=True)),
    "the larger of two": lambda: around(lambda s, x: torch.max(x, x.mean(1, keepdim=True)).min(2 * x)),
    "efficient channel attention": lambda: around(
        channel_attention, slide=nn.Conv1d(1, 1, 3, padding=1, bias=False), conv2=conv(6, 5)
    ),
    "standardised weights": lambda: around(lambda s, x: x, conv2=Standardised(6, 5, 3)),
    "standardised weights of one tap": lambda: around(lambda s, x: x, conv2=Standardised(6, 5, 1)),
    "standardised weights in a row": lambda: around(
        lambda s, x: F.relu(s.same(x)), same=Standardised(6, 6, 3), conv2=Standardised(6, 5, 3)
    ),
    "standardised weights of groups": lambda: around(
        lambda s, x: F.relu(s.same(x)), same=Standardised(6, 6, 3, groups=2), conv2=conv(6, 5)
    ),
    "scaled weights": lambda: around(lambda s, x: s.same(x), same=Scaled(6, 6, 3), conv2=Scaled(6, 5, 3)),
    "weights standardised by hand": lambda: around(
        lambda s, x: s.same(x), same=Written(6, 6, 3), conv2=Written(6, 5, 3)
    ),
    "weight norm": lambda: around(lambda s, x: s.same(x), same=Normed(6, 6, 3), conv2=Normed(6, 5, 3)),
    "a computed linear weight": lambda: around(
        lambda s, x: F.linear(x.transpose(1, 3), 2 * s.w - s.w.mean(1, keepdim=True)).transpose(1, 3),
        w=nn.Parameter(torch.randn(6, 6)),
    ),
    "batch norm with a computed scale": lambda: around(
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, 1 + s.norm.weight), norm=nn.BatchNorm2d(6)
    ),
}


def removed(graph: Graph, layer: str, kept: Tensor = KEPT) -> Masks:
    """Masks without some of the neurons that a layer produces."""
    masks = Masks.full(graph)
    (group,) = (one for one in graph.groups if layer in one.producers)
    masks.neurons[group.slice] = kept.numpy()[: group.size]
    return masks


@pytest.mark.parametrize("name", SEEING)
def test_nothing_stays_and_every_half_is_equal_and_counted(name: str) -> None:
    model = prepared(SEEING[name]())
    graph = checked_graph(model, SHAPE)
    assert [why for layer, why in graph.unpruned if layer not in ("gate", "slide")] == []
    assert {"conv1", "conv2"} <= {layer for group in graph.groups for layer in group.producers}
    costs = cost_model(model, graph, SHAPE)
    for group in graph.groups:
        masks = removed(graph, group.producers[0])
        network = Compactor(model, graph)(masks)
        wanted = masked_network(model, graph, masks)(images())
        assert (network(images()) - wanted).abs().max() < 1e-10 * wanted.abs().max()
        assert costs.flops(masks) == count_flops(network, SHAPE)


def test_a_mean_over_channels_is_that_of_the_kept_ones() -> None:
    model: Any = prepared(SEEING["global response norm"]())
    graph = checked_graph(model, SHAPE)
    found = masked_network(model, graph, removed(graph, "conv1"))(images())
    kept = KEPT.double().view(1, -1, 1, 1)
    x = F.relu(model.conv1(images()))
    size = x.norm(p=2, dim=(2, 3), keepdim=True)
    share = size / ((size * kept).sum(1, keepdim=True) / kept.sum() + 1e-6)
    x = x + model.shift.view(1, -1, 1, 1) + model.gain.view(1, -1, 1, 1) * x * share
    assert torch.allclose(found, pooled(model, F.relu(model.conv2(x * kept))), atol=1e-12)


@pytest.mark.parametrize("kind", [Standardised, Written])
def test_a_weight_is_standardised_over_the_kept_inputs(kind: type[nn.Conv2d]) -> None:
    model: Any = prepared(around(lambda s, x: x, conv2=kind(6, 5, 3)))
    graph = checked_graph(model, SHAPE)
    found = masked_network(model, graph, removed(graph, "conv1"))(images())
    rows = model.conv2.weight[:, KEPT]
    spread = rows.var((1, 2, 3), keepdim=True, correction=kind is Written)
    spread = spread.sqrt() + 1e-5 if kind is Written else (spread + 1e-5).sqrt()
    rows = (rows - rows.mean((1, 2, 3), keepdim=True)) / spread
    x = F.conv2d(F.relu(model.conv1(images()))[:, KEPT], rows, model.conv2.bias)
    assert torch.allclose(found, pooled(model, F.relu(x)), atol=1e-12)


def test_a_convolution_slides_over_the_kept_channels() -> None:
    model: Any = prepared(SEEING["efficient channel attention"]())
    graph = checked_graph(model, SHAPE)
    found = masked_network(model, graph, removed(graph, "conv1"))(images())
    x = F.relu(model.conv1(images()))[:, KEPT]
    share = torch.sigmoid(model.slide(x.mean((2, 3))[:, None]))[:, 0, :, None, None]
    x = F.conv2d(x * share, model.conv2.weight[:, KEPT], model.conv2.bias, padding=1)
    assert torch.allclose(found, pooled(model, F.relu(x)), atol=1e-12)


def test_a_convolution_that_steps_over_channels_keeps_them() -> None:
    def halved(s: Any, x: Tensor) -> Tensor:
        return x + s.slide(x.mean((2, 3))[:, None]).mean((1, 2))[:, None, None, None]

    graph = checked_graph(prepared(around(halved, slide=nn.Conv1d(1, 1, 2, stride=2))), SHAPE)
    assert dict(graph.unpruned)["conv1"] == "a convolution slides over its channels"


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("moments over channels", 2),
        ("standardised weights of one tap", 2),
        ("standardised weights", 1),
        ("weights standardised by hand", 1),
        ("a mean of all", 1),
    ],
)
def test_two_channels_stay_where_a_spread_is_taken_over_them(name: str, least: int) -> None:
    model = prepared(SEEING[name]())
    graph = checked_graph(model, SHAPE)
    (group,) = (one for one in graph.groups if "conv1" in one.producers)
    assert group.least == least
    space = space_of(model, graph, genes="neurons")
    assert space.repair(np.zeros(space.layout.size, dtype=np.bool_))[group.slice].sum() == least


def test_connections_of_computed_weights_are_no_genes() -> None:
    model = prepared(SEEING["standardised weights"]())
    graph = checked_graph(model, SHAPE)
    assert [layer.name for layer in graph.convolutions()] == ["conv1"]
    assert [layer.computed for layer in graph.layers] == [False, True, False]


def test_what_is_computed_from_the_images_stays() -> None:
    model = prepared(around(lambda s, x: F.conv2d(x, s.w * x.mean()), w=nn.Parameter(torch.randn(6, 6, 1, 1))))
    graph = checked_graph(model, SHAPE)
    assert dict(graph.unpruned)["conv1"].startswith("aten.conv2d.default is not understood here: mul is computed")
