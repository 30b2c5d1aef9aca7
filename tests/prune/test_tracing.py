"""What the walk over a computation cannot follow it leaves alone; it never crashes and is never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_networks import (
    SHAPE,
    Net,
    apart,
    conv,
    images,
    masked_by_hooks,
    pooled,
    prepared,
    random_masks,
    space_of,
    warnings_of,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from gaprune.errors import ModelError
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.graph.graph import build_graph


class Standardised(nn.Conv2d):
    """Weight standardisation: the weight is computed at each call."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def around(run: Callable[[Any, Tensor], Tensor], **parts: Any) -> nn.Module:
    """``conv1``, then ``run``, then ``conv2`` and ``conv3``; the latter's 5 neurons are always understood."""
    usual = {"conv1": conv(3, 6), "conv2": conv(6, 6), "conv3": conv(6, 5), "head": nn.Linear(5, 3)}
    return Net(lambda s, x: pooled(s, s.conv3(F.relu(s.conv2(run(s, F.relu(s.conv1(x))))))), **(usual | parts))


def halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([a * torch.sigmoid(b), b], 1)


def shuffled(x: Tensor) -> Tensor:
    count, channels, height, width = x.shape
    return x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def attention(s: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(s.query(tokens), s.key(tokens), tokens)
    return mixed.transpose(1, 2).reshape(x.shape)


def channels_last(s: Any, x: Tensor) -> Tensor:
    out: Tensor = s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


LEFT: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "layer norm": (
        lambda: around(channels_last, norm=nn.LayerNorm(6)),
        {"conv1": "aten.layer_norm.default is not understood"},
    ),
    "group norm": (
        lambda: around(lambda s, x: s.norm(x), norm=nn.GroupNorm(2, 6)),
        {"conv1": "aten.group_norm.default is not understood"},
    ),
    "attention": (
        lambda: around(attention, query=nn.Linear(6, 6), key=nn.Linear(6, 6)),
        {"conv1": "aten.scaled_dot_product_attention.default is not understood"},
    ),
    "an operator without a rule": (
        lambda: around(lambda s, x: torch.cumsum(x, 1)),
        {"conv1": "aten.cumsum.default is not understood"},
    ),
    "a transposed convolution": (
        lambda: around(lambda s, x: s.up(x), up=nn.ConvTranspose2d(6, 6, 2, stride=2)),
        {
            "conv1": "aten.conv_transpose2d.input is not understood",
            "up": "aten.conv_transpose2d.input is not understood",
        },
    ),
    "channel shuffle": (lambda: around(lambda s, x: shuffled(x)), {"conv1": "a reshape splits or mixes"}),
    "the channel shuffle of torch": (
        lambda: around(lambda s, x: s.shuffle(x), shuffle=nn.ChannelShuffle(2)),
        {"conv1": "aten.channel_shuffle.default is not understood"},
    ),
    "halves as gates": (lambda: around(lambda s, x: halves(x)), {"conv1": "aten.chunk.default is not understood"}),
    "padded channels": (
        lambda: around(lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 1))[:, 1:-1]),
        {"conv1": "channels are padded"},
    ),
    "a slice of channels": (
        lambda: around(lambda s, x: x + x[:, :1]),
        {"conv1": "a slice takes some of its channels"},
    ),
    "a mean over channels": (
        lambda: around(lambda s, x: x * x.mean(1, keepdim=True)),
        {"conv1": "a reduction runs over its channels"},
    ),
    "pooling over channels": (
        lambda: around(lambda s, x: F.max_pool2d(x.flatten(2).unsqueeze(1), 3, 1, 1).squeeze(1).view(x.shape)),
        {"conv1": "aten.max_pool2d.default is not understood here: it runs over channels"},
    ),
    "a standardised weight": (
        lambda: around(lambda s, x: s.same(x), same=Standardised(6, 6, 3, padding=1)),
        {
            "conv1": "aten.conv2d.default is not understood here: sub is computed, not a parameter",
            "same": "aten.conv2d.default is not understood here: sub is computed, not a parameter",
        },
    ),
    "weight norm": (
        lambda: around(lambda s, x: s.same(x), same=weight_norm(conv(6, 6))),
        {
            "conv1": "aten.conv2d.default is not understood here: _weight_norm is computed",
            "same": "aten.conv2d.default is not understood here: _weight_norm is computed",
        },
    ),
    "a linear layer with a computed weight": (
        lambda: around(lambda s, x: F.linear(x.transpose(1, 3), 2 * s.w).transpose(1, 3), w=nn.Parameter(torch.eye(6))),
        {"conv1": "aten.linear.default is not understood here: mul is computed, not a parameter"},
    ),
    "batch norm with a computed scale": (
        lambda: around(
            lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, 1 + s.norm.weight),
            norm=nn.BatchNorm2d(6),
        ),
        {"conv1": "aten.batch_norm.default is not understood here: add is computed, not a parameter"},
    ),
    "a depthwise call that is no module's": (
        lambda: around(lambda s, x: F.conv2d(x, s.w, padding=1, groups=6), w=nn.Parameter(torch.randn(6, 1, 3, 3))),
        {
            "conv1": "aten.conv2d.default is not understood here: its groups are not those of one convolution",
            "conv2d_1": "aten.conv2d.default is not understood here: its groups are not those of one convolution",
        },
    ),
    "a constant with channels": (
        lambda: around(lambda s, x: x * torch.linspace(1, 2, 6, dtype=x.dtype).view(1, 6, 1, 1)),
        {"conv1": "an axis without channels is combined with it"},
    ),
}


def assert_right(model: nn.Module) -> None:
    """What is left to prune is right: compact equals masked, and FLOPs are fvcore's."""
    graph = build_graph(model, SHAPE)
    costs = cost_model(model, graph, SHAPE)
    for options in ({"genes": "neurons"}, {"genes": "both", "connection_groups": 2}):
        masks = random_masks(space_of(model, graph, **options), 1, 0.5)
        network = Compactor(model, graph)(masks)
        assert apart(network(images()), masked_by_hooks(model, graph, masks, images())) < 1e-10
        assert costs.flops(masks) == count_flops(network, SHAPE)


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_understood_is_left_unpruned_with_its_layer_and_the_reason_in_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    build_model, expected = LEFT[name]
    model = prepared(build_model())
    with caplog.at_level("WARNING", logger="gaprune"):
        graph = checked_graph(model, SHAPE)
    assert {layer for layer, _ in graph.unpruned} == set(expected)
    for layer, reason in graph.unpruned:
        assert reason.startswith(expected[layer])
        assert f"left unpruned: {layer}: {reason}" in warnings_of(caplog)
    assert len(warnings_of(caplog)) == len(expected)
    assert "conv3" in {group.name for group in graph.groups}
    assert_right(model)


FOLLOWED: dict[str, Callable[[], nn.Module]] = {
    "adaptive max pooling": lambda: around(lambda s, x: F.adaptive_max_pool2d(x, 4)),
    "max pooling with indices": lambda: around(lambda s, x: F.max_pool2d(x, 2, return_indices=True)[0]),
    "powers of two": lambda: around(lambda s, x: 2**x),
    "one minus": lambda: around(lambda s, x: 1 - torch.sigmoid(x)),
    "generalised mean pooling": lambda: around(
        lambda s, x: F.avg_pool2d(x.clamp(min=1e-6).pow(s.p), 2).pow(1.0 / s.p), p=nn.Parameter(torch.ones(1))
    ),
    "a position embedding": lambda: around(lambda s, x: x + s.place, place=nn.Parameter(torch.ones(1, 6, 8, 8))),
    "a scale for each channel": lambda: around(
        lambda s, x: x + s.scale[:, None, None] * x, scale=nn.Parameter(torch.ones(6))
    ),
    "a buffer for each channel": lambda: around(lambda s, x: x * s.scale, scale=torch.ones(1, 6, 1, 1)),
    "batch norm written out": lambda: around(
        lambda s, x: x * (s.scale * (s.running_var + 1e-5).rsqrt()).view(1, -1, 1, 1),
        scale=nn.Parameter(torch.ones(6)),
        running_var=torch.ones(6),
    ),
    "batch norm without statistics": lambda: around(
        lambda s, x: s.plain(s.norm(x)),
        norm=nn.BatchNorm2d(6, track_running_stats=False),
        plain=nn.BatchNorm2d(6, affine=False, track_running_stats=False),
    ),
    "limits for each channel": lambda: around(
        lambda s, x: torch.clamp(x, s.low, s.high), low=torch.zeros(6, 1, 1), high=torch.ones(6, 1, 1)
    ),
    "positions as rows of a batch": lambda: around(
        lambda s, x: s.mix(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])).view(x.shape[0], 8, 8, 6).permute(0, 3, 1, 2),
        mix=nn.Linear(6, 6),
    ),
    "images added to the batch": lambda: around(
        lambda s, x: s.same(torch.cat([x, -x], 0))[: x.shape[0]], same=conv(6, 6)
    ),
    "a functional convolution": lambda: around(
        lambda s, x: F.conv2d(x, s.w, padding=1), w=nn.Parameter(torch.randn(6, 6, 3, 3))
    ),
    "the same maps twice": lambda: around(lambda s, x: torch.cat([x, x], 1), conv2=conv(12, 6)),
    "a constant map through a convolution": lambda: around(
        lambda s, x: x + s.same(s.start), same=conv(6, 6), start=torch.ones(1, 6, 8, 8)
    ),
    "a change of type": lambda: around(lambda s, x: x.float().to(torch.float64)),
    "a pixel border cut off": lambda: around(lambda s, x: x[:, :, 1:-1, 1:-1]),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_only_rearranges_or_scales_channels_is_followed(name: str) -> None:
    model = prepared(FOLLOWED[name]())
    graph = checked_graph(model, SHAPE)
    assert graph.unpruned == ()
    assert {"conv1", "conv2", "conv3"} <= {layer for group in graph.groups for layer in group.producers}
    assert_right(model)


def test_a_network_that_is_not_understood_at_all_is_refused_with_its_layers_and_reasons() -> None:
    """A vision transformer's beginning: patches, positions, layer norm."""
    model = Net(
        lambda s, x: s.head(s.norm(s.patches(x).flatten(2).transpose(1, 2)).mean(1)),
        patches=nn.Conv2d(3, 6, 4, stride=4),
        norm=nn.LayerNorm(6),
        head=nn.Linear(6, 3),
    )
    with pytest.raises(ModelError, match=r"no neuron .* \(patches: aten.layer_norm.default is not understood\)"):
        checked_graph(model, SHAPE)
