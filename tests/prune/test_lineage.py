from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from tiny_networks import (
    PRUNABLE,
    SHAPE,
    Net,
    apart,
    chain,
    conv,
    images,
    pooled,
    prepared,
    random_masks,
    residual,
    space_of,
)
from torch import nn

from gaprune.genome import Bits
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import cost_model, kept_kernels
from gaprune.prune.cut.lineage import compose, present_kernels
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.importance import l2
from gaprune.prune.space import PruningSpace, SpaceOptions
from gaprune.saved import fill_structure, stored_tensors, structure

GENES = ("neurons", "connections", "both")


def later_space(first: PruningSpace, so_far: Masks, network: object) -> PruningSpace:
    """The space of a compact network whose masked kernels stay masked."""
    graph = build_graph(network, SHAPE)  # type: ignore[arg-type]
    costs, worth = cost_model(network, graph, SHAPE), l2(network, graph)  # type: ignore[arg-type]
    return PruningSpace(graph, costs, worth, first.options, present_kernels(first.graph, so_far))


@pytest.mark.parametrize("genes", GENES)
@pytest.mark.parametrize("name", PRUNABLE)
def test_pruned_three_times_is_pruned_once_by_the_composed_masks(name: str, genes: str) -> None:
    model = prepared(PRUNABLE[name]())
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph, genes=genes)
    composed, now, network = Masks.full(graph), space, model
    for seed in range(3):
        masks = random_masks(now, seed, share=0.8)
        later = Compactor(network, now.graph)(masks)
        composed = compose(graph, composed, now.graph, masks)
        assert apart(Compactor(model, graph)(composed)(images()), later(images())) < 1e-10
        assert space.costs(composed) == now.costs(masks)
        genome = space.genome(composed)
        again = space.masks(genome)
        assert np.array_equal(again.neurons, composed.neurons)
        assert space.costs(again) == space.costs(composed)
        now, network = later_space(space, composed, later), later


def test_groups_of_one_channel_stay_tied_as_they_were() -> None:
    model = prepared(
        Net(
            lambda s, x: pooled(s, s.after(s.grouped(s.before(x)))),
            before=conv(3, 8),
            grouped=conv(8, 8, groups=4),
            after=conv(8, 8),
            head=nn.Linear(8, 4),
        )
    )
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph)
    half = Masks.full(graph)
    half.neurons[graph.layers[0].outputs[1::2]] = False  # one channel of two is left in each group
    network, loaded = Compactor(model, graph)(half), copy.deepcopy(model)
    fill_structure(loaded, structure(network), stored_tensors(network))
    assert network.get_parameter("grouped.weight").shape[:2] == (8, 1)
    for again in (network, loaded):
        later = later_space(space, half, again)
        masks = random_masks(later, 0, share=0.5)
        composed = compose(graph, half, later.graph, masks)
        assert space.costs(composed) == later.costs(masks)
        assert (
            apart(Compactor(model, graph)(composed)(images()), Compactor(again, later.graph)(masks)(images())) < 1e-10
        )


@pytest.mark.parametrize("name", PRUNABLE)
def test_a_genome_made_of_masks_is_the_one_that_they_came_from(name: str) -> None:
    model = prepared(PRUNABLE[name]())
    space = space_of(model, build_graph(model, SHAPE), genes="both")
    for seed in range(3):
        bits = space.repair(np.random.default_rng(seed).random(space.layout.size) < 0.7)
        genome = space.layout.pack(bits)
        assert space.genome(space.masks(genome)) == genome


@pytest.mark.parametrize("genes", ["connections", "both"])
@pytest.mark.parametrize("name", ["chain", "residual", "dense block", "gated"])
def test_masked_kernels_never_come_back_and_repairs_settle_at_once(name: str, genes: str) -> None:
    model = prepared(PRUNABLE[name]())
    space = space_of(model, build_graph(model, SHAPE), genes=genes)
    masks = random_masks(space, 1, share=0.6)
    later = later_space(space, masks, Compactor(model, space.graph)(masks))
    there = present_kernels(space.graph, masks)
    assert there
    for seed, share in enumerate((0.0, 0.2, 0.7, 1.0)):
        wanted = np.random.default_rng(seed).random(later.layout.size) < share
        bits = later.repair(wanted)
        assert np.array_equal(later.repair(bits), bits)
        found = later.masks(later.layout.pack(bits))
        for layer in later.graph.convolutions():
            if layer.weight in there:
                between = found.kept(layer.outputs)[:, None] & found.kept(layer.inputs)[None, :]
                kernels = found.kernels.get(layer.weight, between)
                assert not (kernels & ~there[layer.weight]).any()
    assert later.cost(later.layout.unpack(later.full())) == 1.0
    assert later.costs(later.masks(later.full())) == space.costs(masks)


def test_a_row_whose_last_kernels_input_goes_is_left_without() -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    layer = graph.convolutions()[1]
    space = space_of(model, graph, genes="both")
    only_first: Bits = np.ones((len(layer.outputs), len(layer.inputs)), dtype=np.bool_)
    only_first[0, 1:] = False
    later = PruningSpace(graph, space.costs, l2(model, graph), SpaceOptions(genes="both"), {layer.weight: only_first})
    bits = np.ones(later.layout.size, dtype=np.bool_)
    bits[layer.inputs[0]] = False
    mended = later.repair(bits)
    assert np.array_equal(later.repair(mended), mended)
    masks = later.masks(later.layout.pack(mended))
    assert not masks.kernels[layer.weight][0].any()
    assert masks.kernels[layer.weight][1:].any(axis=1).all()


def test_networks_that_do_not_descend_from_each_other_are_refused() -> None:
    one, other = (build_graph(prepared(make()), SHAPE) for make in (chain, residual))
    with pytest.raises(ValueError, match="has 4 channels, expected 8 of 8"):
        compose(one, Masks.full(one), other, Masks.full(other))
    smaller = replace(Masks.full(one), neurons=np.arange(one.neurons) > 0)
    with pytest.raises(ValueError, match=r"channels, expected \d+ of \d+"):
        compose(one, smaller, one, Masks.full(one))


@pytest.mark.parametrize("name", ["chain", "residual", "gated"])
def test_genes_that_are_live_and_set_are_what_the_network_has(name: str) -> None:
    model = prepared(PRUNABLE[name]())
    space = space_of(model, build_graph(model, SHAPE), genes="both")
    masks = random_masks(space, 1, share=0.6)
    later = later_space(space, masks, Compactor(model, space.graph)(masks))
    bits = later.repair(np.random.default_rng(0).random(later.layout.size) < 0.7)
    found = later.masks(later.layout.pack(bits))
    kernels = sum(kept_kernels(layer, found) for layer in later.graph.convolutions())
    assert np.count_nonzero(bits & later.live(bits)) == kernels + np.count_nonzero(found.neurons)
