from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import (
    PRUNABLE,
    SHAPE,
    apart,
    chain,
    fits,
    images,
    masked_by_hooks,
    prepared,
    random_masks,
    space_of,
)
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet
from gaprune.models import build
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.graph.tensors import state_tensors
from gaprune.prune.norms.recalibration import recalibrate

OPTIONS: tuple[dict[str, Any], ...] = (
    {"genes": "neurons"},
    {"genes": "connections"},
    {"genes": "both"},
    {"genes": "both", "round_to": 2},
    {"genes": "connections", "connection_groups": 2},
    {"genes": "both", "connection_groups": 2},
)


def assert_compact_equals_masked(model: nn.Module, graph: Graph, masks: Masks, x: Tensor) -> None:
    """Relative to 1e-10 in float64 and 1e-4 in float32."""
    wanted = masked_by_hooks(model, graph, masks, x)
    assert apart(Compactor(model, graph)(masks)(x), wanted) < 1e-10
    assert apart(masked_network(model, graph, masks)(x), wanted) < 1e-10
    single = copy.deepcopy(model).float()
    found = Compactor(single, graph)(masks)(x.float())
    assert apart(found, masked_by_hooks(single, graph, masks, x.float())) < 1e-4


@pytest.mark.parametrize("name", PRUNABLE)
def test_compact_equals_masked_for_every_kind_of_coupling(name: str) -> None:
    model = prepared(PRUNABLE[name]())
    graph = build_graph(model, SHAPE)
    for seed, options in enumerate(options for options in OPTIONS if fits(graph, options)):
        masks = random_masks(space_of(model, graph, **options), seed)
        assert_compact_equals_masked(model, graph, masks, images())


@dataclass(frozen=True)
class Shape:
    """One convolution of a random network."""

    width: int
    kernel: int
    stride: int
    padding: int
    padding_mode: str
    bias: bool
    norm: str
    activation: str
    shortcut: str


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kernel = draw(st.sampled_from([1, 2, 3]))
    shortcut = draw(st.sampled_from(["none", "projection", "identity", "concatenation"]))
    keeps_size = shortcut in ("identity", "concatenation")
    return Shape(
        width=draw(st.integers(2, 7)),
        kernel=3 if keeps_size else kernel,
        stride=1 if keeps_size else draw(st.sampled_from([1, 2])),
        padding=1 if keeps_size else draw(st.integers(0, 1)),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
        bias=draw(st.booleans()),
        norm=draw(st.sampled_from(["batch", "without affine", "none"])),
        activation=draw(st.sampled_from(["relu", "silu", "prelu", "none"])),
        shortcut=shortcut,
    )


class Block(nn.Module):
    """A convolution, what follows it, and a way around it."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        width = inputs if shape.shortcut == "identity" else shape.width
        options: dict[str, Any] = {"stride": shape.stride, "padding": shape.padding, "bias": shape.bias}
        self.shape = shape
        self.conv = nn.Conv2d(inputs, width, shape.kernel, padding_mode=shape.padding_mode, **options)
        self.norm = {
            "batch": lambda: nn.BatchNorm2d(width),
            "without affine": lambda: nn.BatchNorm2d(width, affine=False),
            "none": nn.Identity,
        }[shape.norm]()
        self.activation = {
            "relu": nn.ReLU,
            "silu": nn.SiLU,
            "prelu": lambda: nn.PReLU(width),
            "none": nn.Identity,
        }[shape.activation]()
        if shape.shortcut == "projection":
            self.project = nn.Conv2d(inputs, width, shape.kernel, **options)
        self.width = inputs + width if shape.shortcut == "concatenation" else width

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        if self.shape.shortcut == "identity":
            out = out + x
        elif self.shape.shortcut == "projection":
            out = out + self.project(x)
        out = self.activation(out)
        return torch.cat([x, out], 1) if self.shape.shortcut == "concatenation" else out


class RandomNet(nn.Module):
    """A stem, some blocks, and a head over pooled or flattened maps."""

    def __init__(self, shapes: list[Shape], flat: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        blocks: list[Block] = []
        for shape in shapes:
            blocks.append(Block(blocks[-1].width if blocks else 4, shape))
        self.blocks = nn.Sequential(*blocks)
        self.flat = flat
        self.head = nn.Linear(blocks[-1].width * (4 if flat else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        x = F.adaptive_avg_pool2d(x, 2 if self.flat else 1).flatten(1)
        out: Tensor = self.head(x)
        return out


@settings(deadline=None, max_examples=20)
@given(st.lists(shapes(), min_size=1, max_size=3), st.booleans(), st.integers(0, 2**16), st.sampled_from([1, 2, 3]))
def test_compact_equals_masked_for_random_residual_networks(
    drawn: list[Shape], flat: bool, seed: int, step: int
) -> None:
    model = prepared(RandomNet(drawn, flat), seed)
    size = (3, 16, 16)
    graph = build_graph(model, size)
    for options in (
        *({"genes": genes, "round_to": step} for genes in ("neurons", "connections", "both")),
        {"genes": "both", "connection_groups": 2, "round_to": step},
    ):
        if not fits(graph, options):
            continue
        masks = random_masks(space_of(model, graph, size, **options), seed)
        assert_compact_equals_masked(model, graph, masks, images(size, 2))


@pytest.mark.parametrize(("name", "stem"), [("vgg16", "cifar"), ("resnet18", "cifar"), ("resnet18", "imagenet")])
def test_compact_equals_masked_for_the_networks_of_the_package(name: str, stem: str) -> None:
    size = (3, 32, 32)
    model = prepared(build(name, 10, stem=stem))
    graph = build_graph(model, size)
    for seed, options in enumerate(
        ({"genes": "neurons"}, {"genes": "both"}, {"genes": "both", "connection_groups": 4})
    ):
        masks = random_masks(space_of(model, graph, size, **options), seed, 0.7)
        assert_compact_equals_masked(model, graph, masks, images(size, 1))


def test_a_removed_neuron_contributes_nothing_after_batch_norm_and_activation() -> None:
    """By hand: the maps that the second convolution and the head read, with channels put to zero."""
    model: Any = prepared(chain())
    graph = build_graph(model, SHAPE)
    neurons = np.ones(14, dtype=np.bool_)
    neurons[[1, 4, 6 + 0, 6 + 5]] = False
    x = images()
    with torch.no_grad():
        first = F.relu(model.norm1(model.conv1(x)))
        first[:, [1, 4]] = 0
        second = F.relu(model.norm2(model.conv2(first)))
        second[:, [0, 5]] = 0
        wanted = model.head(second.mean((2, 3)))
    network: Any = Compactor(model, graph)(Masks(neurons))
    assert apart(network(x), wanted) < 1e-12
    assert [network.conv1.out_channels, network.conv2.in_channels, network.conv2.out_channels] == [4, 4, 6]
    assert [network.norm1.num_features, network.head.in_features] == [4, 6]


def test_a_masked_connection_is_a_kernel_of_zeros() -> None:
    model: Any = prepared(chain())
    graph = build_graph(model, SHAPE)
    mask = np.ones((8, 6), dtype=np.bool_)
    mask[2, 3] = False
    network: Any = Compactor(model, graph)(Masks(np.ones(14, dtype=np.bool_), {"conv2.weight": mask}))
    zero = (network.conv2.weight == 0).all(dim=(2, 3))
    assert zero.nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize("name", ["residual", "two names", "tied weights"])
def test_a_compact_network_shares_no_memory_with_the_original_and_never_changes_it(name: str) -> None:
    model = prepared(PRUNABLE[name]()).float()
    graph = build_graph(model, SHAPE)
    before = {key: tensor.clone() for key, tensor in state_tensors(model).items()}
    objects = dict(model.named_parameters(remove_duplicate=False))
    compactor = Compactor(model, graph)
    pixels = torch.randint(0, 256, (8, *SHAPE), dtype=torch.uint8)
    for options in (options for options in OPTIONS if fits(graph, options)):
        masks = random_masks(space_of(model, graph, **options), 0)
        networks = [compactor(masks), compactor(masks), compactor(Masks.full(graph))]
        tensors = [tensor for net in (model, *networks) for tensor in _distinct(net)]
        assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)
        recalibrate(networks[0], ImageSet(pixels, torch.zeros(8, dtype=torch.int64)), (128,) * 3, (60,) * 3)
        with torch.no_grad():
            for tensor in networks[0].parameters():
                tensor.fill_(1)
        masked_network(model, graph, masks)(images().float())
    after = state_tensors(model)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(objects[key] is p for key, p in model.named_parameters(remove_duplicate=False))


def _distinct(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def test_weights_that_were_shared_stay_shared() -> None:
    model = prepared(PRUNABLE["tied weights"]())
    graph = build_graph(model, SHAPE)
    network: Any = Compactor(model, graph)(random_masks(space_of(model, graph), 0))
    assert network.a.weight is network.b.weight
    assert network.a.bias is not network.b.bias


def test_compact_networks_learn_where_the_original_learns() -> None:
    model: Any = prepared(chain())
    model.conv1.weight.requires_grad_(False)
    network: Any = Compactor(model, build_graph(model, SHAPE))(Masks(np.ones(14, dtype=np.bool_)))
    assert not network.conv1.weight.requires_grad
    assert network.conv2.weight.requires_grad
    assert not network.training


def test_a_tied_convolution_becomes_a_real_grouped_one() -> None:
    model: Any = prepared(chain())
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph, genes="connections", connection_groups=2)
    masks = space.masks(space.layout.pack(np.zeros(space.layout.size, dtype=np.bool_)))
    network: Any = Compactor(model, graph)(masks)
    assert [section.name for section in space.layout.sections] == ["conv2"]  # the image has 3 channels
    assert network.conv2.conv.groups == 2
    assert network.conv2.conv.weight.shape == (8, 3, 3, 3)
    assert (network.conv2.conv.in_channels, network.conv2.conv.out_channels) == (6, 8)
