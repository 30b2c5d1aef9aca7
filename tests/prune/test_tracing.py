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

from gaprune.errors import ModelError
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.graph.graph import build_graph


def around(run: Callable[[Any, Tensor], Tensor], **parts: Any) -> nn.Module:
    """``conv1``, then ``run``, then ``conv2`` and ``conv3``; the latter's 5 neurons are always understood."""
    usual = {"conv1": conv(3, 6), "conv2": conv(6, 6), "conv3": conv(6, 5), "head": nn.Linear(5, 3)}
    return Net(lambda s, x: pooled(s, s.conv3(F.relu(s.conv2(run(s, F.relu(s.conv1(x))))))), **(usual | parts))


def halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([a * torch.sigmoid(b), b], 1)


def maps(rows: Tensor) -> Tensor:
    return rows.view(-1, 8, 8, rows.shape[1]).permute(0, 3, 1, 2)


def shuffled(x: Tensor) -> Tensor:
    count, channels, height, width = x.shape
    return x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


def channels_last(s: Any, x: Tensor) -> Tensor:
    out: Tensor = s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


def channels_last_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2]).permute(0, 3, 1, 2)


LEFT: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "an operator without a rule": (
        lambda: around(lambda s, x: torch.cummax(x, 1)[0]),
        {"conv1": "aten.cummax.default is not understood"},
    ),
    "padded channels": (
        lambda: around(lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 1))[:, 1:-1]),
        {"conv1": "a slice takes some of its channels, at places written"},
    ),
    "a slice of channels": (
        lambda: around(lambda s, x: x + x[:, :1]),
        {"conv1": "a slice takes some of its channels"},
    ),
    "the number of a channel": (
        lambda: around(lambda s, x: x * x.argmax(1, keepdim=True)),
        {"conv1": "one of its channels is told by its number"},
    ),
    "pooling over channels": (
        lambda: around(lambda s, x: F.max_pool2d(x.flatten(2).unsqueeze(1), 3, 1, 1).squeeze(1).view(x.shape)),
        {"conv1": "aten.max_pool2d.default is not understood here: it runs over channels"},
    ),
    "heads that are not understood": (
        lambda: around(lambda s, x: torch.cummax(x.view(-1, 2, 3, 8, 8) + 0, 2)[0].view(x.shape)),
        {"conv1": "aten.cummax.default is not understood"},
    ),
    "a sum along channels": (
        lambda: around(lambda s, x: torch.cumsum(x, 1)),
        {"conv1": "it runs along its channels"},
    ),
    "softmax over channels": (lambda: around(lambda s, x: x.softmax(1)), {"conv1": "it is divided among channels"}),
    "layer norm over channels and maps": (
        lambda: around(lambda s, x: s.norm(x), norm=nn.LayerNorm((6, 8, 8))),
        {"conv1": "a norm runs over several axes"},
    ),
    "one channel by its number": (
        lambda: around(lambda s, x: x + x.select(1, 2)[:, None]),
        {"conv1": "one of its channels is taken by its number"},
    ),
    "channels by their numbers": (
        lambda: around(lambda s, x: x[:, [5, 4, 3, 2, 1, 0]]),
        {"conv1": "its channels are looked up by their numbers"},
    ),
    "unequal parts": (
        lambda: around(lambda s, x: torch.cat(x.split([2, 4], 1)[::-1], 1)),
        {"conv1": "it is split into unequal parts"},
    ),
    "fewer chunks than asked for": (
        lambda: around(lambda s, x: torch.cat(x.chunk(6, 1), 1), conv1=conv(3, 14), conv2=conv(14, 6)),
        {"conv1": "it is split into unequal parts"},
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
        (line,) = [line for line in warnings_of(caplog) if f": {reason}" in line]
        assert layer in line
    assert len(warnings_of(caplog)) == len(set(expected.values()))
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
        lambda s, x: maps(s.mix(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))), mix=nn.Linear(6, 6)
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
    "layer norm": lambda: around(channels_last, norm=nn.LayerNorm(6)),
    "layer norm without weights": lambda: around(channels_last, norm=nn.LayerNorm(6, elementwise_affine=False)),
    "group norm": lambda: around(lambda s, x: s.norm(x), norm=nn.GroupNorm(2, 6)),
    "group norm of one group": lambda: around(lambda s, x: s.norm(x), norm=nn.GroupNorm(1, 6)),
    "group norm of single channels": lambda: around(lambda s, x: s.norm(x), norm=nn.GroupNorm(6, 6)),
    "instance norm": lambda: around(
        lambda s, x: s.plain(s.norm(x)), norm=nn.InstanceNorm2d(6, affine=True), plain=nn.InstanceNorm2d(6)
    ),
    "instance norm with statistics": lambda: around(
        lambda s, x: s.norm(x), norm=nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
    ),
    "RMS norm": lambda: around(channels_last, norm=nn.RMSNorm(6, eps=1e-6)),
    "a transposed convolution": lambda: around(
        lambda s, x: s.up(x), up=nn.ConvTranspose2d(6, 4, 2, stride=2), conv2=conv(4, 6)
    ),
    "channel shuffle": lambda: around(lambda s, x: shuffled(x)),
    "the channel shuffle of torch": lambda: around(lambda s, x: s.shuffle(x), shuffle=nn.ChannelShuffle(2)),
    "halves as gates": lambda: around(lambda s, x: halves(x)),
    "gated linear units": lambda: around(lambda s, x: F.glu(x, 1), conv1=conv(3, 8), conv2=conv(4, 6)),
    "equal parts by split": lambda: around(lambda s, x: torch.cat(x.split(x.shape[1] // 3, 1)[::-1], 1)),
    "chunks with a shorter last": lambda: around(
        lambda s, x: torch.cat([*x.chunk(4, 1)[1:], x.chunk(4, 1)[0].sigmoid()], 1),
        conv1=conv(3, 10),
        conv2=conv(10, 6),
    ),
    "halves by slices": lambda: around(
        lambda s, x: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :], conv1=conv(3, 8), conv2=conv(4, 6)
    ),
    "stacked and summed": lambda: around(lambda s, x: torch.stack([x, torch.sigmoid(x)], 1).sum(1)),
    "weights of two paths": lambda: around(
        lambda s, x: (torch.stack([x, -x], 1) * torch.stack([x, -x], 1).mean((3, 4), keepdim=True).softmax(1)).sum(1)
    ),
    "a gate expanded": lambda: around(lambda s, x: x * x[:, :, :1, :1].mean((2, 3), keepdim=True).expand_as(x)),
    "maps repeated": lambda: around(lambda s, x: x[:, :, :1].repeat(1, 2, 8, 1), conv2=conv(12, 6)),
    "maps rolled and flipped": lambda: around(lambda s, x: torch.roll(x, (1, 2), (2, 3)).flip(3)),
    "channels the other way round": lambda: around(lambda s, x: x.flip(1)),
    "pixels from channels": lambda: around(lambda s, x: F.pixel_shuffle(s.up(x), 2), up=conv(6, 16), conv2=conv(4, 6)),
    "pixels to channels": lambda: around(lambda s, x: F.pixel_unshuffle(x, 2), conv2=conv(24, 6)),
    "pooling along rows": lambda: around(lambda s, x: F.max_pool1d(x.flatten(2), 2).unflatten(2, (8, 4))),
    "pooling of volumes": lambda: around(
        lambda s, x: (
            F.avg_pool3d(x.unsqueeze(2), (1, 2, 2)).squeeze(2) + F.adaptive_avg_pool3d(x.unsqueeze(2), 1)[:, :, 0]
        )
    ),
    "softmax over space": lambda: around(lambda s, x: x.flatten(2).softmax(-1).view(x.shape)),
    "where": lambda: around(lambda s, x: torch.where(x > 0, x, torch.log1p(x.abs()))),
    "one position of all": lambda: around(lambda s, x: x + x[:, :, 0, 0, None, None]),
    "rows looked up": lambda: around(lambda s, x: x[:, :, [3, 1, 2]]),
    "resizing to the nearest exact": lambda: around(
        lambda s, x: F.interpolate(x, scale_factor=2, mode="nearest-exact")
    ),
    "matrices the other way round": lambda: around(lambda s, x: x.flatten(2).mT.mT.view(x.shape)),
    "axes moved": lambda: around(lambda s, x: torch.movedim(torch.swapaxes(x, 1, 3), 3, 1)),
    "a hidden linear layer": lambda: around(
        lambda s, x: x * torch.sigmoid(s.excite(F.relu(s.squeeze(x.mean((2, 3))))))[:, :, None, None],
        squeeze=nn.Linear(6, 4),
        excite=nn.Linear(4, 6),
    ),
    "a pixel border cut off": lambda: around(lambda s, x: x[:, :, 1:-1, 1:-1]),
}


def test_norms_called_as_functions_are_cut_as_those_of_modules() -> None:
    called = prepared(around(lambda s, x: F.group_norm(F.instance_norm(channels_last_norm(x)), x.shape[1])))
    norms = {"norm": nn.LayerNorm(6, elementwise_affine=False), "instance": nn.InstanceNorm2d(6)}
    held = prepared(
        around(lambda s, x: s.group(s.instance(channels_last(s, x))), **norms, group=nn.GroupNorm(6, 6, affine=False))
    )
    held.load_state_dict(called.state_dict())
    found = []
    for model in (called, held):
        graph = build_graph(model, SHAPE)
        masks = random_masks(space_of(model, graph, genes="neurons"), 1, 0.5)
        network = Compactor(model, graph)(masks)
        assert cost_model(model, graph, SHAPE).flops(masks) == count_flops(network, SHAPE)
        found.append((masks.neurons.tolist(), network(images())))
    assert found[0][0] == found[1][0]
    assert not all(found[0][0])
    assert apart(found[0][1], found[1][1]) < 1e-10


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_only_rearranges_or_scales_channels_is_followed(name: str) -> None:
    model = prepared(FOLLOWED[name]())
    graph = checked_graph(model, SHAPE)
    assert graph.unpruned == ()
    assert {"conv1", "conv2", "conv3"} <= {layer for group in graph.groups for layer in group.producers}
    assert_right(model)


PARTLY: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "one map expanded over channels": (
        lambda: around(lambda s, x: x * s.one(x).expand(-1, x.shape[1], -1, -1), one=conv(6, 1)),
        {"one": "it is a single channel"},
    ),
    "a zero-padded shortcut": (
        lambda: around(lambda s, x: s.wide(x) + F.pad(x, (0, 0, 0, 0, 2, 2)), wide=conv(6, 10), conv2=conv(10, 6)),
        {"wide": "it is padding"},
    ),
    "mixing of positions": (
        lambda: around(
            lambda s, x: x + s.back(F.relu(s.mix(x.flatten(2)))).view(x.shape),
            mix=nn.Linear(64, 8),
            back=nn.Linear(8, 64),
        ),
        {"back": "an axis without channels is combined with it"},
    ),
}


@pytest.mark.parametrize("name", PARTLY)
def test_what_must_stay_beside_channels_that_may_go_keeps_no_others(name: str) -> None:
    build_model, expected = PARTLY[name]
    model = prepared(build_model())
    graph = checked_graph(model, SHAPE)
    assert dict(graph.unpruned) == expected
    assert {"conv1", "conv2", "conv3"} <= {layer for group in graph.groups for layer in group.producers}
    assert_right(model)


def test_a_network_that_is_not_understood_at_all_is_refused_with_its_layers_and_reasons() -> None:
    model = Net(
        lambda s, x: s.head(torch.cummax(s.patches(x).flatten(2).transpose(1, 2), 2)[0].mean(1)),
        patches=nn.Conv2d(3, 6, 4, stride=4),
        head=nn.Linear(6, 3),
    )
    with pytest.raises(ModelError, match=r"no neuron .* \(patches: aten.cummax.default is not understood\)"):
        checked_graph(model, SHAPE)


def test_where_convolutions_alone_are_asked_for_linear_layers_stay() -> None:
    model = prepared(FOLLOWED["a hidden linear layer"]())
    graph = checked_graph(model, SHAPE, layers="conv")
    assert [group.name for group in graph.groups] == ["conv2", "conv3"]
    assert graph.unpruned == (("conv1", "it is an output of a linear layer"),)


def test_what_was_left_whole_stays_so() -> None:
    model = prepared(FOLLOWED["channel shuffle"]())
    graph = checked_graph(model, SHAPE, whole=("conv1",))
    assert [group.name for group in graph.groups] == ["conv2", "conv3"]
    assert graph.unpruned == (("conv1", "it was left whole when the run began"),)


def test_a_graph_that_has_what_it_had_leaves_nothing_whole_and_each_reason_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = prepared(PARTLY["mixing of positions"][0]())
    graph = checked_graph(model, SHAPE)
    caplog.clear()
    again = checked_graph(model, SHAPE, whole=("conv1", "back"), neurons=graph.neurons)
    assert again.groups == graph.groups
    assert len(warnings_of(caplog)) == 1
    caplog.clear()
    less = checked_graph(model, SHAPE, whole=("conv1",), neurons=graph.neurons - 1)
    assert "conv1" not in {group.name for group in less.groups}
    assert len(warnings_of(caplog)) == len(set(warnings_of(caplog))) == 2
