"""Attention that can be cut computes what it takes the place of does, and loses heads and features exactly."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import Net, apart, conv, prepared
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

from gaprune.models.attention import OpenAttention, open_attention
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, count_flops
from gaprune.prune.cut.masked import masked_network
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph
from gaprune.prune.rank.registry import importance_function
from gaprune.saved import Config, load, save_compact

IMAGE = (3, 16, 16)


def vit() -> nn.Module:
    return VisionTransformer(16, 4, 1, 2, 8, 12, num_classes=3)


def swin() -> nn.Module:
    return SwinTransformer([2, 2], 8, [2], [2], [2, 2], num_classes=3)


def swin_v2() -> nn.Module:
    more: dict[str, Any] = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    return SwinTransformer([2, 2], 8, [2], [2], [2, 2], num_classes=3, **more)


def examples(count: int = 2) -> Tensor:
    return torch.randn((count, *IMAGE), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def thirds(graph: Graph) -> Masks:
    """Every third neuron of each group stays, and its last one."""
    masks = Masks.full(graph)
    for group in graph.groups:
        masks.neurons[group.slice] = [index % 3 == 0 or index + 1 == group.size for index in range(group.size)]
    return masks


@pytest.mark.parametrize("make", [vit, swin, swin_v2])
def test_opened_networks_compute_the_same_and_lose_heads_features_and_streams(make: Any, tmp_path: Path) -> None:
    closed = prepared(make())
    if make is swin_v2:  # whose keys have no bias
        for name, tensor in closed.named_parameters():
            if name.endswith("qkv.bias"):
                tensor.data.view(3, -1)[1] = 0
    model = open_attention(copy.deepcopy(closed))
    assert dict(model.named_parameters()).keys() == dict(closed.named_parameters()).keys()
    assert apart(model(examples()), closed(examples())) < 1e-12
    graph = checked_graph(model, IMAGE)
    assert graph.unpruned == ()
    attention = [
        group for group in graph.groups if any(one.endswith(("attention", "attn.qkv")) for one in group.producers)
    ]
    heads, features = attention[0], attention[1]
    assert (heads.size, features.size) == (2, 4)
    masks = thirds(graph)
    masks.neurons[heads.start] = False
    compact = Compactor(model, graph)(masks)
    assert apart(compact(examples(3)), masked_network(model, graph, masks)(examples(3))) < 1e-12
    assert cost_model(model, graph, IMAGE).flops(masks) == count_flops(compact, IMAGE)
    config = Config(None, "cifar", ("a", "b", "c"), IMAGE, (0.0,) * 3, (1.0,) * 3)
    save_compact(tmp_path, compact.float(), config, {})
    loaded = load(tmp_path, model=closed.float())
    assert torch.equal(loaded(examples().float()), compact(examples().float()))


@pytest.mark.parametrize("heads", [2, 3])
def test_heads_and_features_are_told_apart_where_there_are_as_many(heads: int) -> None:
    model = open_attention(prepared(VisionTransformer(16, 4, 1, heads, heads * heads, 12, num_classes=3)))
    graph = checked_graph(model, IMAGE)
    assert graph.unpruned == ()
    masks = thirds(graph)
    for group in graph.groups:
        masks.neurons[group.start] = group.size > heads
    compact = Compactor(model, graph)(masks)
    assert apart(compact(examples(3)), masked_network(model, graph, masks)(examples(3))) < 1e-12
    assert cost_model(model, graph, IMAGE).flops(masks) == count_flops(compact, IMAGE)


def test_a_head_that_is_gone_is_a_head_that_gives_nothing() -> None:
    """Written out: heads by hand, of which the first is zeroed."""
    closed = nn.MultiheadAttention(8, 2, batch_first=True).double().eval()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    q, k, v = (
        y.unflatten(-1, (2, 4)).transpose(1, 2)
        for y in (x @ closed.in_proj_weight.T + closed.in_proj_bias).chunk(3, -1)
    )
    mixed = (q @ k.mT / 4**0.5).softmax(-1) @ v
    mixed[:, 0] = 0
    wanted = closed.out_proj(mixed.transpose(1, 2).flatten(2))
    cut = OpenAttention(closed)
    rows = torch.cat([torch.arange(start, start + 4) for start in (4, 12, 20)])
    cut.in_proj_weight, cut.in_proj_bias = (nn.Parameter(t[rows]) for t in (closed.in_proj_weight, closed.in_proj_bias))
    cut.out_proj.weight = nn.Parameter(closed.out_proj.weight[:, 4:])
    cut.num_heads = 1
    assert apart(cut(x, x, x, need_weights=False)[0], wanted) < 1e-12


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_of_other_kinds_of_calls_is_the_same(batch_first: bool, need_weights: bool) -> None:
    closed = nn.MultiheadAttention(8, 2, batch_first=batch_first).double().eval()
    opened = open_attention(copy.deepcopy(closed))
    assert isinstance(opened, OpenAttention)
    generator = torch.Generator().manual_seed(0)
    query, other = (torch.randn(3, 3, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    causal = torch.ones(3, 3, dtype=torch.bool).triu(1)
    padding = torch.tensor([[False, False, True]]).expand(3, 3)
    for inputs, more in [
        ((query, query, query), {}),
        ((query, other, other), {}),
        ((query, query, query), {"attn_mask": causal}),
        ((query, query, query), {"attn_mask": causal, "key_padding_mask": padding}),
        ((query[0], query[0], query[0]), {"average_attn_weights": False}),
    ]:
        found, weights = opened(*inputs, need_weights=need_weights, **more)
        wanted, shares = closed(*inputs, need_weights=need_weights, **more)
        assert apart(found, wanted) < 1e-12
        assert (weights is None) == (shares is None)
        if weights is not None:
            assert torch.allclose(weights, shares)


def test_opened_attention_says_of_itself_what_torchs_does() -> None:
    closed = nn.MultiheadAttention(8, 2)
    opened: Any = open_attention(nn.MultiheadAttention(8, 2))
    for name in ("embed_dim", "kdim", "vdim", "num_heads", "head_dim", "bias_k", "bias_v", "add_zero_attn"):
        assert getattr(opened, name) == getattr(closed, name)


def test_attention_with_biases_of_its_own_for_keys_is_left_as_it_is() -> None:
    module = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    assert open_attention(nn.Sequential(module))[0] is module


@pytest.mark.parametrize("widths", [{}, {"kdim": 6, "vdim": 6}])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_to_other_tokens_is_cut(widths: dict[str, int], bias: bool) -> None:
    inner = widths.get("kdim", 8)

    def tokens(s: Any, x: Tensor) -> Tensor:
        query, other = (part(x).flatten(2).transpose(1, 2) for part in (s.conv, s.other))
        found: Tensor = s.head(s.attend(query, other, other, need_weights=False)[0].mean(1))
        return found

    closed = prepared(
        Net(
            tokens,
            conv=conv(3, 8, 3),
            other=conv(3, inner, 3),
            attend=nn.MultiheadAttention(8, 2, batch_first=True, bias=bias, **widths),
            head=nn.Linear(8, 3),
        )
    )
    model = open_attention(copy.deepcopy(closed))
    assert dict(model.named_parameters()).keys() == dict(closed.named_parameters()).keys()
    assert apart(model(examples()), closed(examples())) < 1e-12
    graph = checked_graph(model, IMAGE)
    assert graph.unpruned == ()
    produced = {layer for group in graph.groups for layer in group.producers}
    assert produced == {"conv", "other", "attend", "attend.out_proj"}
    masks = thirds(graph)
    compact = Compactor(model, graph)(masks)
    assert apart(compact(examples(3)), masked_network(model, graph, masks)(examples(3))) < 1e-12
    assert cost_model(model, graph, IMAGE).flops(masks) == count_flops(compact, IMAGE)
    for name in ("l2", "bn", "random"):
        assert importance_function(name)(model, graph).neurons.min() > 0


def test_torchs_encoder_is_cut() -> None:
    model = prepared(
        Net(
            lambda s, x: s.head(s.encoder(s.conv(x).flatten(2).transpose(1, 2)).mean(1)),
            conv=conv(3, 8, 4, stride=4, padding=0),
            encoder=nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
            head=nn.Linear(8, 3),
        )
    )
    model = open_attention(model)
    graph = checked_graph(model, IMAGE)
    assert graph.unpruned == ()
    masks = thirds(graph)
    with torch.no_grad():  # where torch would take a short cut through modules of its own
        found = Compactor(model, graph)(masks)(examples())
        assert apart(found, masked_network(model, graph, masks)(examples())) < 1e-12
