from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import PRUNABLE, SHAPE, Net, conv, fits, pooled, prepared, random_masks, space_of, tokens_first
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.models import build
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import CostModel, count_flops
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.graph.tensors import first_names, state_tensors
from gaprune.prune.space import PruningSpace
from gaprune.saved import Config, save_compact

OPTIONS: tuple[dict[str, Any], ...] = (
    {"genes": "neurons"},
    {"genes": "both", "round_to": 2},
    {"genes": "both", "connection_groups": 2},
)


@cache
def known(name: str) -> tuple[nn.Module, Graph]:
    model = prepared(PRUNABLE[name]()).float()
    return model, build_graph(model, SHAPE)


def assert_counted_right(model: nn.Module, space: PruningSpace, masks: Masks, shape: tuple[int, int, int]) -> None:
    """FLOPs to the last unit, parameters to the last one, bytes of tensors to the last one."""
    network = Compactor(model, space.graph)(masks)
    costs = space.costs(masks)
    counted = count_flops(network, shape)
    assert counted == space.costs.flops(replace(masks, kernels={}))
    assert costs.flops == counted or masks.kernels
    first = first_names(network)
    tensors = [tensor for name, tensor in state_tensors(network).items() if first[name] == name]
    assert costs.size == sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    kernels = sum(zeroed_weights(space.graph, masks))
    assert costs.params == sum(parameter.numel() for parameter in network.parameters()) - kernels


def zeroed_weights(graph: Graph, masks: Masks) -> Iterator[int]:
    for layer in graph.convolutions():
        if layer.weight in masks.kernels:
            kept = np.ix_(masks.kept(layer.outputs), masks.kept(layer.inputs))
            yield int((~masks.kernels[layer.weight][kept]).sum()) * layer.kernel


@pytest.mark.parametrize("name", PRUNABLE)
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**16), share=st.floats(0.05, 0.95), options=st.sampled_from(OPTIONS))
def test_formulas_count_what_is_really_there(name: str, seed: int, share: float, options: dict[str, Any]) -> None:
    model, graph = known(name)
    if fits(graph, options):
        space = space_of(model, graph, **options)
        assert_counted_right(model, space, random_masks(space, seed, share), SHAPE)


@pytest.mark.parametrize(("name", "stem"), [("vgg16", "cifar"), ("resnet18", "cifar"), ("resnet18", "imagenet")])
def test_flops_equal_fvcores_for_random_genomes_of_the_packages_networks(name: str, stem: str) -> None:
    model = build(name, 10, stem=stem)
    shape = (3, 32, 32)
    graph = build_graph(model, shape)
    for options in (*OPTIONS, {"genes": "neurons", "round_to": 8}):
        space = space_of(model, graph, shape, **options)
        for seed in range(2):
            assert_counted_right(model, space, random_masks(space, seed, 0.2 + 0.6 * seed), shape)


@pytest.mark.parametrize("name", ["chain", "residual", "gated", "grouped", "depthwise", "flattened"])
def test_free_masks_scale_each_convolutions_share_by_its_kept_kernels(name: str) -> None:
    """Layer by layer against what fvcore counts for each module of the compact network."""
    model, graph = known(name)
    space = space_of(model, graph, genes="both")
    masks = random_masks(space, 3, 0.6)
    assert masks.kernels
    network = Compactor(model, graph)(masks)
    by_module = flops_by_module(network)
    expected = by_module[""]
    for layer in graph.convolutions():
        if layer.weight in masks.kernels:
            kept = masks.kernels[layer.weight][np.ix_(masks.kept(layer.outputs), masks.kept(layer.inputs))]
            share = by_module[layer.name] * int(kept.sum()) // kept.size
            assert share * kept.size == by_module[layer.name] * int(kept.sum())  # a whole number of FLOPs
            expected += share - by_module[layer.name]
            nonzero = (network.get_submodule(layer.name).weight.flatten(2) != 0).any(dim=2)
            assert torch.equal(nonzero, torch.from_numpy(kept))
    assert space.costs.flops(masks) == expected


def flops_by_module(network: nn.Module) -> dict[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore still uses torch.jit
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network, torch.zeros(1, *SHAPE))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return {name: int(count) for name, count in analysis.by_module().items()}


def test_the_originals_costs_are_those_of_all_its_tensors() -> None:
    model, graph = known("residual")
    costs = CostModel(model, graph)(Masks.full(graph))
    assert costs.params == sum(prod(parameter.shape) for parameter in model.parameters())
    assert costs.size == sum(t.numel() * t.element_size() for t in state_tensors(model).values())


def test_calls_that_pruning_never_touches_are_counted_as_a_constant() -> None:
    """Fvcore counts a matrix product and a layer norm; the formula knows neither."""
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.Conv2d(6, 4, 3),
        nn.Flatten(2),
        nn.LayerNorm(16),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph)
    assert_counted_right(model, space, random_masks(space, 0, 0.5), SHAPE)


def test_size_is_close_to_the_file(tmp_path: Path) -> None:
    model, graph = known("residual")
    for options in OPTIONS:
        space = space_of(model, graph, **options)
        masks = random_masks(space, 1)
        config = Config(None, "cifar", ("a", "b", "c"), SHAPE, (0.0,) * 3, (1.0,) * 3)
        save_compact(tmp_path, Compactor(model, graph)(masks), config, {})
        header = (tmp_path / "model.safetensors").stat().st_size - space.costs(masks).size
        assert 0 < header < 4096


@pytest.mark.filterwarnings("error")
def test_counting_leaves_modes_and_warnings_alone(capfd: pytest.CaptureFixture[str]) -> None:
    model = PRUNABLE["chain"]().train()
    model.norm1.eval()
    count_flops(model, SHAPE)
    assert model.training
    assert model.conv1.training
    assert not model.norm1.training
    assert capfd.readouterr() == ("", "")


def mixed_by_a_constant() -> nn.Module:
    """64 tokens mixed by a matrix that all images share."""

    def run(s: Any, x: Tensor) -> Tensor:
        return pooled(s, s.last((s.mix @ s.conv(x).flatten(2).mT).mT.unflatten(2, (8, 8))))

    return Net(run, conv=conv(3, 6), mix=nn.Parameter(torch.eye(64)), last=conv(6, 5), head=nn.Linear(5, 3))


def read_by_learned_queries() -> nn.Module:
    """Four learned queries, expanded to the images."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = s.conv(x).flatten(2).mT
        queries = s.second(F.relu(s.first(s.learned.expand(x.shape[0], -1, -1))))
        out: Tensor = s.head((queries @ x.mT @ x).mean(1))
        return out

    parts = {"first": nn.Linear(5, 8), "second": nn.Linear(8, 6), "head": nn.Linear(6, 3)}
    return Net(run, conv=conv(3, 6), learned=nn.Parameter(torch.randn(1, 4, 5)), **parts)


@pytest.mark.parametrize("make", [tokens_first, mixed_by_a_constant, read_by_learned_queries])
def test_calls_are_counted_for_one_image_wherever_the_images_lie(make: Callable[[], nn.Module]) -> None:
    model = prepared(make()).float()
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph)
    for seed in range(2):
        assert_counted_right(model, space, random_masks(space, seed), SHAPE)
