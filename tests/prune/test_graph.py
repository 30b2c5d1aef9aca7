from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_networks import PRUNABLE, SHAPE, Net, chain, conv, grouped, images, pooled
from torch import nn
from torch.nn import functional as F

from gaprune.errors import ModelError
from gaprune.models import build
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.graph.tensors import state_tensors

IMAGE = (3, 32, 32)


def test_vgg16_has_4224_neurons_and_1_6_million_connections() -> None:
    graph = build_graph(build("vgg16", 10), IMAGE)
    assert graph.neurons == 4_224
    connections = [len(layer.outputs) * len(layer.inputs) for layer in graph.convolutions()]
    assert sum(connections) == 1_634_496
    assert [len(group.producers) for group in graph.groups] == [1] * 13
    assert graph.unpruned == ()


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_resnet18_has_2880_neurons_that_additions_join_across_blocks(stem: str) -> None:
    graph = build_graph(build("resnet18", 10, stem=stem), IMAGE)
    assert graph.neurons == 2_880
    joined = {group.name: set(group.producers) for group in graph.groups if len(group.producers) > 1}
    assert joined == {
        "conv1": {"conv1", "layer1.0.conv2", "layer1.1.conv2"},
        "layer2.0.conv2": {"layer2.0.conv2", "layer2.0.downsample.0", "layer2.1.conv2"},
        "layer3.0.conv2": {"layer3.0.conv2", "layer3.0.downsample.0", "layer3.1.conv2"},
        "layer4.0.conv2": {"layer4.0.conv2", "layer4.0.downsample.0", "layer4.1.conv2"},
    }
    assert [group.producers for group in graph.groups if len(group.producers) == 1] == [
        (f"layer{stage}.{block}.conv1",) for stage in (1, 2, 3, 4) for block in (0, 1)
    ]
    assert graph.unpruned == ()


COUPLINGS: dict[str, dict[str, tuple[int, set[str], set[str]]]] = {
    "chain": {
        "conv1": (6, {"conv1"}, {"conv2"}),
        "conv2": (8, {"conv2"}, {"head"}),
    },
    "residual": {
        "stem": (6, {"stem", "b"}, {"a", "c", "shortcut"}),
        "a": (4, {"a"}, {"b"}),
        "c": (8, {"c"}, {"d"}),
        "d": (8, {"d", "shortcut"}, {"head"}),
    },
    "dense block": {
        "stem": (4, {"stem"}, {"grow1", "grow2", "transition"}),
        "grow1": (2, {"grow1"}, {"grow2", "transition"}),
        "grow2": (2, {"grow2"}, {"transition"}),
        "transition": (6, {"transition"}, {"head"}),
    },
    "depthwise": {
        "expand": (6, {"expand", "depth"}, {"depth", "project"}),
        "project": (4, {"project"}, {"head"}),
    },
    "depthwise with a multiplier": {
        "expand": (6, {"expand", "depth"}, {"depth", "project"}),
        "project": (4, {"project"}, {"head"}),
    },
    "grouped": {  # one neuron stands for the same channel of both groups
        "before": (4, {"before"}, {"grouped"}),
        "grouped": (6, {"grouped"}, {"after"}),
        "after": (6, {"after"}, {"head"}),
    },
    "gated": {
        "conv1": (6, {"conv1", "excite"}, {"squeeze", "conv2"}),
        "squeeze": (4, {"squeeze"}, {"excite"}),
        "conv2": (5, {"conv2"}, {"head"}),
    },
    "flattened": {"conv1": (6, {"conv1"}, {"head"})},
    "used twice": {"conv1": (6, {"conv1", "again"}, {"again", "head"})},
    "two names": {
        "body.0": (6, {"body.0"}, {"body.2"}),
        "body.2": (6, {"body.2"}, {"head"}),
    },
    "tied weights": {"conv1": (6, {"conv1", "a", "b"}, {"a", "b", "head"})},
    "single channels": {
        "conv1": (6, {"conv1"}, {"bottle"}),
        "out": (5, {"out"}, {"head"}),
    },
    "unet": {
        "down1": (4, {"down1"}, {"down2", "merge"}),
        "down2": (6, {"down2"}, {"up"}),
        "up": (4, {"up"}, {"merge"}),
        "merge": (6, {"merge"}, {"head"}),
    },
}


@pytest.mark.parametrize("name", PRUNABLE)
def test_channels_that_live_and_die_together_form_one_group(name: str) -> None:
    graph = build_graph(PRUNABLE[name](), SHAPE)
    found = {group.name: (group.size, set(group.producers), set(group.consumers)) for group in graph.groups}
    assert found == COUPLINGS[name]
    assert [group.start for group in graph.groups] == [
        sum(group.size for group in graph.groups[:index]) for index in range(len(graph.groups))
    ]


def test_a_flattened_map_repeats_its_channel_at_every_position() -> None:
    graph = build_graph(PRUNABLE["flattened"](), SHAPE)
    (head,) = (layer for layer in graph.layers if not layer.convolution)
    assert head.inputs.tolist() == [channel for channel in range(6) for _ in range(16)]


def test_tied_groups_hold_the_same_channels_of_every_group() -> None:
    layers = {layer.name: layer for layer in build_graph(grouped(), SHAPE).layers}
    assert layers["grouped"].inputs.tolist() == [0, 1, 2, 3] * 2
    assert layers["grouped"].outputs.tolist() == [4, 5, 6, 7, 8, 9] * 2
    assert layers["grouped"].kind == "grouped"


def test_a_group_of_one_channel_stays() -> None:
    graph = build_graph(PRUNABLE["single channels"](), SHAPE)
    assert graph.unpruned == (("bottle", "it is a single channel"),)
    assert graph.neurons == 6 + 5


def test_groups_that_begin_at_the_same_convolution_have_names_of_their_own() -> None:
    """The wide convolution's first half is added to one convolution, its second half to another."""
    model = Net(
        lambda s, x: pooled(s, s.wide(x) + torch.cat([s.a(x), s.b(x)], 1)),
        wide=conv(3, 8),
        a=conv(3, 4),
        b=conv(3, 4),
        head=nn.Linear(8, 3),
    )
    graph = build_graph(model, SHAPE)
    assert [(group.name, group.producers) for group in graph.groups] == [
        ("wide", ("wide", "a")),
        ("wide (2)", ("wide", "b")),
    ]


@pytest.mark.parametrize(
    ("build_model", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3)), "has no neuron that may be removed (no hidden"),
        (lambda: nn.Sequential(conv(3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "no hidden layer"),
        (lambda: nn.ReLU(), "no parameters, so there is nothing to prune"),
        (lambda: Net(lambda s, x: x if x.sum() > 0 else -x, a=conv(3, 3)), "cannot be traced on an input of"),
        (lambda: nn.Sequential(conv(5, 4)), "cannot be traced on an input of shape (2, 3, 8, 8)"),
    ],
)
def test_a_model_without_anything_to_prune_is_refused_in_one_line(
    build_model: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        build_graph(build_model(), SHAPE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_many_layers_that_stay_an_error_names_three() -> None:
    model = nn.Sequential(*(layer for _ in range(5) for layer in (conv(3, 3), nn.Softmax(1))))
    with pytest.raises(ModelError, match=r"\(0: [^;]+; 2: [^;]+; 4: [^;]+; and 2 more\)"):
        build_graph(model, SHAPE)


def test_tracing_leaves_modes_parameters_and_buffers_as_they_were() -> None:
    model = chain().train()
    model.norm2.eval()  # one that the caller froze
    model(images().float())
    before = {name: tensor.clone() for name, tensor in state_tensors(model).items()}
    modes = {name: module.training for name, module in model.named_modules()}
    build_graph(model, SHAPE)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in state_tensors(model).items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_connections_are_counted_once_for_a_shared_convolution() -> None:
    graph = build_graph(PRUNABLE["used twice"](), SHAPE)
    assert [layer.weight for layer in graph.convolutions()] == ["conv1.weight", "again.weight"]
    assert len(graph.layers) == 4


def test_networks_over_signals_and_volumes_are_understood() -> None:
    signal = Net(
        lambda s, x: s.head(s.b(F.relu(s.a(x.flatten(2)))).mean(2)),
        a=nn.Conv1d(3, 6, 3),
        b=nn.Conv1d(6, 4, 3, stride=2),
        head=nn.Linear(4, 3),
    )
    volume = Net(
        lambda s, x: s.head(s.b(F.relu(s.a(x.unsqueeze(2)))).mean((2, 3, 4))),
        a=nn.Conv3d(3, 6, 1),
        b=nn.Conv3d(6, 4, 1),
        head=nn.Linear(4, 3),
    )
    for model in (signal, volume):
        assert [group.size for group in build_graph(model, SHAPE).groups] == [6, 4]
