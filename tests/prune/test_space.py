from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import PRUNABLE, SHAPE, prepared, space_of
from torch import nn

from gaprune.errors import OptionError
from gaprune.genome import Bits, Genome
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.space import PruningSpace, SpaceOptions

NAMES = ("chain", "residual", "dense block", "depthwise", "grouped", "gated", "unet")

OPTIONS: tuple[dict[str, Any], ...] = tuple(
    {"genes": genes, "round_to": step, "connection_groups": groups}
    for genes in ("neurons", "connections", "both")
    for step in (1, 2, 3, 8)
    for groups in (1, 2)
    if genes != "neurons" or groups == 1
)


@cache
def known(name: str) -> tuple[nn.Module, Graph]:
    model = prepared(PRUNABLE[name]())
    return model, build_graph(model, SHAPE)


@cache
def space(name: str, index: int) -> PruningSpace:
    return space_of(*known(name), **OPTIONS[index])


@st.composite
def drawn(draw: st.DrawFn) -> tuple[str, PruningSpace, Bits]:
    """A space and any bits of it, few and many ones alike."""
    name = draw(st.sampled_from(NAMES))
    found = space(name, draw(st.integers(0, len(OPTIONS) - 1)))
    share = draw(st.sampled_from([0.0, 0.02, 0.2, 0.5, 0.9, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    return name, found, rng.random(found.layout.size) < share


@settings(deadline=None, max_examples=150)
@given(drawn())
def test_repair_is_idempotent_and_deterministic_and_changes_no_argument(case: tuple[str, PruningSpace, Bits]) -> None:
    _, found, bits = case
    before = bits.copy()
    mended = found.repair(bits)
    assert np.array_equal(bits, before)
    assert np.array_equal(found.repair(mended), mended)
    assert np.array_equal(found.repair(bits), mended)
    assert mended.dtype == np.bool_


@settings(deadline=None, max_examples=150)
@given(drawn())
def test_no_repaired_layer_is_ever_empty_and_widths_are_rounded(case: tuple[str, PruningSpace, Bits]) -> None:
    _, found, bits = case
    masks = found.masks(found.layout.pack(found.repair(bits)))
    step = np.lcm(found.options.round_to, found.options.connection_groups)
    for group in found.graph.groups:
        width = int(masks.neurons[group.slice].sum())
        assert width >= 1
        assert width == group.size or width % step == 0
    for layer in found.graph.layers:
        assert masks.kept(layer.inputs).any()
        assert masks.kept(layer.outputs).any()
        mask = masks.kernel_mask(layer)
        if mask is not None:
            assert mask.any(axis=1).all()  # each output keeps a kernel


@settings(deadline=None, max_examples=100)
@given(drawn(), st.integers(0, 2**20))
def test_genomes_that_mean_the_same_network_become_equal(case: tuple[str, PruningSpace, Bits], seed: int) -> None:
    """Genes of connections at removed neurons mean nothing, so they may be anything before the repair."""
    _, found, bits = case
    mended = found.repair(bits)
    other = mended.copy()
    masks = found.masks(found.layout.pack(mended))
    noise = np.random.default_rng(seed).random(found.layout.size) < 0.5
    if found.options.connection_groups == 1:
        for layer, section in _connections(found):
            rows, columns = masks.kept(layer.outputs), masks.kept(layer.inputs)
            dead = ~(rows[:, None] & columns[None, :]).reshape(-1)
            other[section.slice][dead] = noise[section.slice][dead]
    assert found.layout.pack(found.repair(other)) == found.layout.pack(mended)


@settings(deadline=None, max_examples=60)
@given(drawn())
def test_different_genomes_mean_different_networks(case: tuple[str, PruningSpace, Bits]) -> None:
    """Canonical the other way round: each single gene that repair lets stand changes what is kept."""
    _, found, bits = case
    mended = found.repair(bits)
    flipped = mended.copy()
    index = int(bits.sum()) % found.layout.size
    flipped[index] = not flipped[index]
    again = found.repair(flipped)
    if not np.array_equal(again, mended):
        left, right = (found.masks(found.layout.pack(genes)) for genes in (mended, again))
        assert (
            not np.array_equal(left.neurons, right.neurons)
            or left.groupings.keys() != right.groupings.keys()
            or any(
                not np.array_equal(left.kernels.get(name, True), right.kernels.get(name, True))
                for name in left.kernels.keys() | right.kernels.keys()
            )
        )


@settings(deadline=None, max_examples=100)
@given(drawn())
def test_packing_loses_nothing(case: tuple[str, PruningSpace, Bits]) -> None:
    _, found, bits = case
    genome = found.layout.pack(bits)
    assert np.array_equal(found.layout.unpack(genome), bits)
    assert len(genome.packed) == (found.layout.size + 7) // 8
    unpacked = found.layout.unpack(genome)
    unpacked[:] = False
    assert np.array_equal(found.layout.unpack(genome), bits)


@settings(deadline=None, max_examples=60)
@given(drawn())
def test_cost_is_the_share_of_flops_kept(case: tuple[str, PruningSpace, Bits]) -> None:
    _, found, bits = case
    mended = found.repair(bits)
    masks = found.masks(found.layout.pack(mended))
    whole = found.masks(found.full())
    assert found.cost(mended) == found.costs.flops(masks) / found.costs.flops(whole)
    assert 0 < found.cost(mended) <= 1
    assert found.cost(found.layout.unpack(found.full())) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("index", range(len(OPTIONS)))
def test_the_full_genome_is_valid_and_nothing_but_the_original(name: str, index: int) -> None:
    found = space(name, index)
    bits = found.layout.unpack(found.full())
    assert np.array_equal(found.repair(bits), bits)
    masks = found.masks(found.full())
    assert masks.neurons.all()
    assert (masks.kernels, masks.groupings) == ({}, {})


def _connections(found: PruningSpace) -> list[tuple[Any, Any]]:
    layers = {layer.name: layer for layer in found.graph.convolutions()}
    return [(layers[s.name], s) for s in found.layout.sections if s.kind == "connections"]


def test_a_removed_neuron_takes_its_incoming_and_outgoing_connections_with_it() -> None:
    model, graph = known("chain")
    found = space_of(model, graph, genes="both")
    bits = found.layout.unpack(found.full())
    bits[2] = False  # a neuron of conv1, which conv2 reads
    bits[graph.neurons + 7] = False  # a connection of conv1 that stays masked
    masks = found.masks(found.layout.pack(found.repair(bits)))
    network: Any = Compactor(model, graph)(masks)
    assert network.conv1.weight.shape[:2] == (5, 3)
    assert network.conv2.weight.shape[:2] == (8, 5)
    whole = found.costs.flops(found.masks(found.full()))
    incoming, outgoing = 3 * 9 * 64, 8 * 9 * 16
    norm = 2 * 64
    assert whole - found.costs.flops(masks) == incoming + outgoing + norm + (0 if 7 // 3 == 2 else 9 * 64)


def test_the_least_worthy_go_first_and_the_worthiest_come_back_first() -> None:
    model, graph = known("chain")
    found = space_of(model, graph, round_to=2)
    order = np.argsort(found.importance[graph.groups[0].slice])
    bits = np.ones(found.layout.size, dtype=np.bool_)
    bits[order[3]] = False  # 5 of 6 are kept: repaired to 4
    kept = found.repair(bits)[:6]
    assert sorted(np.flatnonzero(~kept)) == sorted([order[3], order[0]])
    bits[:6] = False  # none of 6: repaired to 2
    assert sorted(np.flatnonzero(found.repair(bits)[:6])) == sorted(order[-2:])


def test_a_group_that_is_smaller_than_the_step_stays_whole() -> None:
    found = space_of(*known("chain"), round_to=8)
    mended = found.repair(np.zeros(found.layout.size, dtype=np.bool_))
    assert mended[:6].all()  # 6 < 8
    assert mended[6:].all()  # 8 of 8


def test_layouts_hold_neurons_by_group_then_connections_by_convolution() -> None:
    sections = {
        genes: [(s.name, s.kind, s.size) for s in space_of(*known("chain"), genes=genes).layout.sections]
        for genes in ("neurons", "connections", "both")
    }
    neurons = [("conv1", "neurons", 6), ("conv2", "neurons", 8)]
    connections = [("conv1", "connections", 18), ("conv2", "connections", 48)]
    assert sections == {"neurons": neurons, "connections": connections, "both": neurons + connections}


def test_importance_has_one_finite_value_for_each_gene() -> None:
    for name in NAMES:
        for index in range(len(OPTIONS)):
            found = space(name, index)
            assert found.importance.shape == (found.layout.size,)
            assert np.isfinite(found.importance).all()


def test_keys_are_the_same_in_every_process_and_version() -> None:
    """Keys name candidates on disk: a change would lose every log."""
    assert Genome(b"\xa5\x80").key == "74ac5f1fd36e3d3e69fb1e5547baa20c"
    found = space_of(*known("chain"))
    assert found.full() == Genome(b"\xff\xfc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"genes": "weights"}, "unknown genes 'weights': choose one of neurons, connections, both"),
        ({"round_to": 0}, "round-to must be at least 1, got 0"),
        ({"genes": "both", "connection_groups": 0}, "connection-groups must be at least 1, got 0"),
        ({"connection_groups": 2}, "connection-groups needs connection genes"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        SpaceOptions(**options)
    assert message in str(caught.value)


def test_groups_that_no_convolution_can_be_split_into_are_refused() -> None:
    with pytest.raises(OptionError, match="connection-groups 5 divides no convolution's input and output widths"):
        space_of(*known("chain"), genes="connections", connection_groups=5)


def test_a_genome_of_another_layout_is_refused() -> None:
    found = space_of(*known("chain"))
    with pytest.raises(ValueError, match="3 bytes does not fit a layout of 14 genes"):
        found.layout.unpack(Genome(b"abc"))
    with pytest.raises(ValueError, match=r"expected \(14,\) bool"):
        found.layout.pack(np.ones(13, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"expected \(14,\) bool"):
        found.layout.pack(np.ones(14, dtype=np.uint8))  # type: ignore[arg-type]
