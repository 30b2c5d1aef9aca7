"""Opened attention of timm computes what it takes the place of does, and loses heads and features exactly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_networks import Net, apart, conv, prepared
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.models.attention import open_attention
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks

IMAGE = (3, 16, 16)


class Closed(nn.Module):
    """What timm's modules hold; features of a head are the input's width by the number of heads."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (width // heads) ** -0.5
        self.proj = nn.Linear(width, width)
        self.attn_drop, self.proj_drop = nn.Dropout(0.0), nn.Dropout(0.0)

    def heads(self, x: Tensor, *more: int) -> Tensor:
        n, tokens, width = x.shape[0], x.shape[1], x.shape[2] // (more or (1,))[0]
        return x.reshape(n, tokens, *more, self.num_heads, width // self.num_heads)


class ClassAttn(Closed):
    """CaiT's class attention, as timm 1.0 writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        n, _, width = x.shape
        q, k, v = (self.heads(y).transpose(1, 2) for y in (self.q(x[:, 0])[:, None], self.k(x), self.v(x)))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, 1, width)
        found: Tensor = self.proj(mixed)
        return found


class TalkingHeadAttn(Closed):
    """CaiT's talking heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj_l, self.proj_w = nn.Linear(8, 24), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.qkv(x), 3).permute(2, 0, 3, 1, 4)
        scores = self.proj_l((q * self.scale @ k.mT).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
        shares = self.proj_w(scores.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        found: Tensor = self.proj((shares @ v).transpose(1, 2).reshape(x.shape))
        return found


class CrossCovarianceAttn(Closed):
    """EdgeNeXt's attention of features to features."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.temperature = nn.Linear(8, 24), nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.heads(self.qkv(x), 3).permute(2, 0, 3, 4, 1)
        shares = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature).softmax(-1)
        found: Tensor = self.proj((shares @ v).permute(0, 3, 1, 2).reshape(x.shape))
        return found


ClassAttn.__module__ = TalkingHeadAttn.__module__ = "timm.models.cait"
CrossCovarianceAttn.__module__ = "timm.models.edgenext"


def around(attention: nn.Module) -> nn.Module:
    def tokens(s: Any, x: Tensor) -> Tensor:
        stream = s.conv(x).flatten(2).transpose(1, 2)
        found: Tensor = s.head((stream[:, :1] + s.attention(s.norm(stream))).mean(1))
        return found

    parts = {"conv": conv(3, 8, 4, stride=4, padding=0), "norm": nn.LayerNorm(8), "head": nn.Linear(8, 3)}
    return prepared(Net(tokens, **parts, attention=attention))


def examples(count: int = 2) -> Tensor:
    return torch.randn((count, *IMAGE), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def assert_cut(model: nn.Module, expected: set[int]) -> None:
    """Everything may go but a part of each group; without the first neuron of each, heads among them, all is right."""
    graph = checked_graph(model, IMAGE)
    assert graph.unpruned == ()
    assert {group.size for group in graph.groups} == expected
    masks = Masks.full(graph)
    for group in graph.groups:
        masks.neurons[group.slice][::3] = False
    compact = Compactor(model, graph)(masks)
    assert apart(compact(examples(3)), masked_network(model, graph, masks)(examples(3))) < 1e-12
    assert cost_model(model, graph, IMAGE).flops(masks) == count_flops(compact, IMAGE)


@pytest.mark.parametrize(
    ("kind", "sizes"), [(ClassAttn, {8, 4, 2}), (TalkingHeadAttn, {8, 4, 2}), (CrossCovarianceAttn, {8, 2})]
)
def test_opened_attention_computes_the_same_and_is_cut(kind: Any, sizes: set[int]) -> None:
    closed = around(kind())
    model = open_attention(copy.deepcopy(closed))
    assert model.attention is not closed.attention
    assert not isinstance(model.attention, kind)
    assert dict(model.named_parameters()).keys() == dict(closed.named_parameters()).keys()
    assert apart(model(examples()), closed(examples())) < 1e-12
    assert_cut(model, sizes)


def test_a_class_of_the_same_name_from_elsewhere_is_left_as_it_is() -> None:
    class Mine(ClassAttn):
        pass

    Mine.__name__ = "ClassAttn"
    module = Mine()
    assert open_attention(nn.Sequential(module))[0] is module


def test_timms_own_cait_and_edgenext_are_cut() -> None:
    cait, edgenext = pytest.importorskip("timm.models.cait"), pytest.importorskip("timm.models.edgenext")
    small = cait.Cait(16, 4, num_classes=3, embed_dim=8, depth=1, num_heads=2, depth_token_only=1)
    stages: dict[str, Any] = {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "global_block_counts": (0, 1, 1, 1)}
    edge = edgenext.EdgeNeXt(num_classes=3, heads=(2, 2, 2, 2), d2_scales=(2, 2, 3, 3), **stages)
    for closed, side in ((prepared(small), 16), (prepared(edge), 32)):
        images = torch.randn(2, 3, side, side, dtype=torch.float64)
        model = open_attention(copy.deepcopy(closed))
        assert apart(model(images), closed(images)) < 1e-12
        assert checked_graph(model, (3, side, side)).unpruned == ()
