"""Hidden neurons of linear layers: ordered, compensated, counted and saved as channels of convolutions are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, SHAPE, STD, Net, apart, conv, image_set, images, prepared, random_masks, space_of
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

import gaprune
from gaprune.data import ImageData
from gaprune.progress import SILENT
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.statistics import collect
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.rank.importance import l2
from gaprune.prune.rank.ladder import WidthFlops
from gaprune.prune.rank.removal import obs
from gaprune.prune.rank.taylor import neuron_taylor
from gaprune.session import Before


def with_head() -> nn.Module:
    """A head as VGG has it: two hidden layers over 4 x 4 maps."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(s.conv(x)), 2).flatten(1)
        out: Tensor = s.last(F.relu(s.second(F.relu(s.first(x)))))
        return out

    return Net(run, conv=conv(3, 4), first=nn.Linear(64, 8), second=nn.Linear(8, 6), last=nn.Linear(6, 3))


def attentive() -> nn.Module:
    """Attention between positions, written out, with heads and features that the module holds as numbers."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 24), nn.Linear(8, 6)
            self.num_heads, self.head_dim = 2, 4

        def forward(self, x: Tensor) -> Tensor:
            shaped = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, self.head_dim)
            q, k, v = shaped.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = (q @ k.mT * 0.5).softmax(-1) @ v
            out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
            return out

    return Net(
        lambda s, x: s.head(s.attend(s.conv(x).flatten(2).transpose(1, 2)).mean(1)),
        conv=conv(3, 6, 2, stride=2, padding=0),
        attend=Attention(),
        head=nn.Linear(6, 3),
    )


def test_hidden_linear_neurons_go_exactly_and_are_counted() -> None:
    model = prepared(with_head())
    graph = checked_graph(model, SHAPE)
    assert [(group.name, group.size) for group in graph.groups] == [("conv", 4), ("first", 8), ("second", 6)]
    for seed in range(3):
        masks = random_masks(space_of(model, graph, genes="both"), seed)
        compact = Compactor(model, graph)(masks)
        assert apart(compact(images()), masked_network(model, graph, masks)(images())) < 1e-12
        space = space_of(model, graph)
        neurons = Masks(masks.neurons)
        assert space.costs.flops(neurons) == count_flops(Compactor(model, graph)(neurons), SHAPE)


def test_neurons_that_others_make_up_for_go_first_and_leave_nothing_behind() -> None:
    """The last four of eight are combinations of the first four, before a linear layer that reads them as they are."""
    torch.manual_seed(0)
    first, mix = nn.Linear(3, 8).double(), torch.randn(4, 4, dtype=torch.float64)
    with torch.no_grad():
        first.weight[4:] = mix @ first.weight[:4]
        first.bias[4:] = mix @ first.bias[:4] + torch.randn(4)
    model = Net(lambda s, x: s.last(s.first(x.mean((2, 3)))), first=first, last=nn.Linear(8, 5).double()).eval()
    graph = build_graph(model, SHAPE)
    model.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    statistics = collect(model, graph, image_set(40), MEAN, STD, batch_size=16)
    worth = obs(model, graph, statistics)
    assert worth.errors is not None
    assert np.isfinite(worth.neurons).all()
    masks = Masks(np.arange(8) < 4)
    plain = Compactor(model, graph)(masks)
    mended = Compactor(model, graph)(masks, Compensator(model, graph, statistics, damping=0.0)(masks))
    x = (image_set(9).images.double() - 120) / 60
    assert apart(plain(x), model(x)) > 0.1
    assert apart(mended(x), model(x)) < 1e-4


def test_heads_and_features_are_groups_whose_products_are_what_is_left() -> None:
    model = prepared(attentive())
    graph = checked_graph(model, SHAPE)
    assert graph.unpruned == ()
    heads, features = (group for group in graph.groups if group.name.startswith("attend.qkv"))
    assert (heads.size, features.size) == (2, 4)
    masks = Masks.full(graph)
    masks.neurons[[heads.start, features.start + 1, features.start + 2]] = False
    compact = Compactor(model, graph)(masks)
    assert compact.get_parameter("attend.qkv.weight").shape == (3 * 1 * 2, 6)
    assert apart(compact(images()), masked_network(model, graph, masks)(images())) < 1e-12
    assert apart(compact(images()), by_hand(model)) < 1e-12
    assert cost_model(model, graph, SHAPE).flops(masks) == count_flops(compact, SHAPE)


def by_hand(model: Any) -> Tensor:
    """What is left where head 0 and features 1 and 2 give nothing."""
    tokens = model.conv(images()).flatten(2).transpose(1, 2)
    q, k, v = model.attend.qkv(tokens).view(3, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
    there = torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)
    mixed = ((q * there) @ k.mT * 0.5).softmax(-1) @ (v * there)
    mixed = mixed * torch.tensor([0.0, 1], dtype=torch.float64).view(2, 1, 1)
    out: Tensor = model.head(model.attend.out(mixed.transpose(1, 2).flatten(2)).mean(1))
    return out


def test_the_ladder_knows_that_heads_and_features_multiply() -> None:
    model = prepared(attentive())
    graph = build_graph(model, SHAPE)
    widths = np.array([float(group.size) for group in graph.groups])
    flops = WidthFlops(graph)
    layers = {layer.name: layer for layer in graph.layers}
    dense = sum(len(x.inputs) * len(x.outputs) * x.kernel * x.positions for x in layers.values())
    assert flops.total(widths) == pytest.approx(dense)
    for index in range(len(widths)):
        less = widths - 1e-6 * (np.arange(len(widths)) == index)
        assert flops.saving(widths)[index] == pytest.approx((flops.total(widths) - flops.total(less)) / 1e-6, rel=1e-4)


def test_every_importance_has_a_number_for_heads_and_features() -> None:
    model = attentive()
    graph = build_graph(model, SHAPE)
    assert (l2(model, graph).neurons > 0).all()
    found = neuron_taylor(model, graph, image_set(8), MEAN, STD)
    own = [group for group in graph.groups if group.name.startswith("attend.qkv")]
    assert all((found[group.slice] > 0).all() for group in own)


def test_a_vision_transformer_is_searched_and_its_members_load(square_data: ImageData, tmp_path: Path) -> None:
    side = square_data.image_shape[1]
    torch.manual_seed(0)
    model = VisionTransformer(side, side // 2, 1, 2, 8, 12, num_classes=len(square_data.classes))
    nn.init.normal_(model.heads.head.weight)
    result = gaprune.search(
        model,
        square_data,
        output=tmp_path / "run",
        search_size=30,
        calibration_size=20,
        population=4,
        generations=1,
        device="cpu",
        threads=1,
        yes=True,
        reporter=SILENT,
    )
    smallest = result.load(result.rows[0])
    assert sum(parameter.numel() for parameter in smallest.parameters()) == result.rows[0].params
    assert result.rows[0].flops_share < 1


def test_a_run_of_before_says_what_it_could_prune() -> None:
    manifest = {"model": {"neurons": 7}, "unpruned": [["conv1", "aten.chunk.default is not understood"]]}
    left = Before.of(manifest).left
    assert left is not None
    assert (left.neurons, left.layers) == (7, ("conv1",))
    assert Before.of({}).left is None


def test_graphs_of_convolutions_alone_are_what_they_were() -> None:
    model = prepared(with_head())
    graph: Graph = checked_graph(model, SHAPE, layers="conv")
    assert [(group.name, group.size) for group in graph.groups] == [("conv", 4)]
    assert graph.unpruned == ()
