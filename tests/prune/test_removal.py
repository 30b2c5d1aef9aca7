from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_networks import PRUNABLE, SHAPE, Net, apart, conv, prepared, residual
from torch import Tensor, nn

from gaprune.models.attention import open_attention
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.connections import kernel_worth
from gaprune.prune.compensate.statistics import Moments, Statistics, collect_over, consumers
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.graph.inputs import Inputs
from gaprune.prune.rank import removal
from gaprune.prune.rank.importance import kernel_norms, l2
from gaprune.prune.rank.removal import _Consumer, _OfBlocks, obs, removal_curve

Floats = NDArray[np.float64]
Case = tuple[Floats, Floats, NDArray[np.int64]]


def case(out: int, inputs: int, seed: int, start: int = 0) -> Case:
    """Weights, a covariance of correlated inputs, and neurons of which some inputs are none of the group."""
    rng = np.random.default_rng(seed)
    sample = rng.normal(size=(inputs, 2 * inputs)).cumsum(0)
    channels = np.arange(inputs) - start
    return rng.normal(size=(out, inputs, 3)), sample @ sample.T / inputs, np.where(channels >= 0, channels, -1)


def error(found: Case, gone: list[int]) -> float:
    """Relative output error of a consumer without some neurons, by a solve of its own."""
    weight, covariance, channels = found
    r = np.flatnonzero(np.isin(channels, gone))
    k = np.setdiff1d(np.arange(len(channels)), r)
    explained = np.linalg.solve(covariance[np.ix_(k, k)], covariance[np.ix_(k, r)])
    left = covariance[np.ix_(r, r)] - covariance[np.ix_(r, k)] @ explained
    energy = np.einsum("oit,ij,ojt->", weight, covariance, weight)
    return float(np.einsum("oit,ij,ojt->", weight[:, r], left, weight[:, r]) / energy)


@pytest.mark.parametrize("delay", [1, 4, 100])
def test_delayed_updates_find_the_order_that_solving_anew_finds(monkeypatch: Any, delay: int) -> None:
    monkeypatch.setattr(removal, "DELAY", delay)
    cases = [case(4, 14, 0, start=2), case(3, 12, 1)]
    order, added = removal_curve([_Consumer(w, C, 1e-14, channels) for w, C, channels in cases], 12)
    gone: list[int] = []
    for step, neuron in enumerate(order):
        choices = {i: sum(error(c, [*gone, i]) for c in cases) for i in range(12) if i not in gone}
        assert neuron == min(choices, key=choices.__getitem__)
        gone.append(int(neuron))
        assert added[: step + 1].sum() == pytest.approx(choices[int(neuron)], rel=1e-6)


def test_blocks_of_inputs_go_in_the_order_that_solving_anew_finds() -> None:
    """Of two consumers, one with inputs that are no neuron of the group."""
    cases = []
    for seed, start in ((0, 2), (1, 0)):
        weight, covariance, _ = case(4, 12 + start, seed)
        cases.append((weight, covariance, np.append(np.full(start, -1), np.arange(12) % 4)))
    order, added = removal_curve([_OfBlocks(w, C, 1e-14, channels) for w, C, channels in cases], 4)
    gone: list[int] = []
    for step, neuron in enumerate(order):
        choices = {i: sum(error(c, [*gone, i]) for c in cases) for i in range(4) if i not in gone}
        assert neuron == min(choices, key=choices.__getitem__)
        gone.append(int(neuron))
        assert added[: step + 1].sum() == pytest.approx(choices[int(neuron)], rel=1e-6)


def three_heads() -> nn.Module:
    """Attention of three heads: two alike with large weights, one of its own with small ones."""

    def tokens(s: Any, x: Tensor) -> Tensor:
        stream = s.conv(x).flatten(2).transpose(1, 2)
        found: Tensor = s.head(s.attend(stream, stream, stream, need_weights=False)[0].mean(1))
        return found

    attend = nn.MultiheadAttention(12, 3, batch_first=True)
    model = prepared(Net(tokens, conv=conv(3, 12, 4), attend=attend, head=nn.Linear(12, 3)))
    with torch.no_grad():
        for packed in (attend.in_proj_weight, attend.in_proj_bias):
            for start in (0, 12, 24):
                packed[start + 4 : start + 8] = packed[start : start + 4]
                packed[start + 8 : start + 12] *= 0.5
    return open_attention(model)


def test_of_heads_that_say_the_same_one_goes_first_whatever_their_weights() -> None:
    model = three_heads()
    graph = checked_graph(model, SHAPE)
    x = torch.randn((64, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    statistics = collect_over(model, graph, [Inputs((part,)) for part in x.split(16)])
    (heads,) = (group for group in graph.groups if group.producers[0] == "attend" and group.size == 3)
    features = next(group for group in graph.groups if group.producers[0] == "attend" and group.size == 4)
    apart_by = {}
    for importance in (obs, l2):
        found = importance(model, graph, statistics)
        masks = Masks.full(graph)
        masks.neurons[heads.start + int(np.argmin(found.neurons[heads.slice]))] = False
        tensors = Compensator(model, graph, statistics)(masks)
        apart_by[importance] = apart(Compactor(model, graph)(masks, tensors)(x), model(x))
    assert apart_by[obs] < 0.01
    assert apart_by[l2] > 10 * apart_by[obs]
    by_norm, by_order = l2(model, graph).neurons, obs(model, graph, statistics)
    np.testing.assert_array_equal(by_order.neurons[features.slice], by_norm[features.slice])  # scores see them, too
    assert by_order.errors is not None
    assert by_order.errors[heads.slice].sum() == pytest.approx(1.0)


def moments(inputs: int, seed: int) -> Moments:
    samples = torch.randn(inputs, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).cumsum(0)
    return Moments(50, samples.sum(1), samples @ samples.T, 4, 4)


def test_kernels_get_their_worth_by_removal_when_asked_and_their_norms_otherwise() -> None:
    model = prepared(residual())
    graph = build_graph(model, SHAPE)
    fitted = {w: moments(len(layer.inputs), 0) for w, layer in consumers(model, graph).items() if w != "c.weight"}
    statistics = Statistics(fitted, {}, 10)
    norms = kernel_norms(model, graph)
    plain, asked = (obs(model, graph, statistics, kernels=kernels).kernels for kernels in (False, True))
    for weight in norms:
        np.testing.assert_array_equal(plain[weight], norms[weight])
        if weight in fitted:  # not the stem, whose input is the image, nor what has no statistics
            wanted = kernel_worth(model.get_parameter(weight).detach().flatten(2), fitted[weight].covariance, 1e-3)
            np.testing.assert_allclose(asked[weight], wanted)
        else:
            np.testing.assert_array_equal(asked[weight], norms[weight])
    assert {"stem.weight", "c.weight"} == norms.keys() - fitted.keys()


@pytest.mark.parametrize("name", PRUNABLE)
def test_every_gene_gets_a_finite_worth(name: str) -> None:
    model = prepared(PRUNABLE[name]())
    graph = build_graph(model, SHAPE)
    fitted = {w: moments(len(layer.inputs), 0) for w, layer in consumers(model, graph).items()}
    found = obs(model, graph, Statistics(fitted, {}, 10), kernels=True)
    assert np.isfinite(found.neurons).all()
    assert found.kernels.keys() == kernel_norms(model, graph).keys()
    for layer in graph.convolutions():
        assert found.kernels[layer.weight].shape == (len(layer.outputs), len(layer.inputs))
        assert np.isfinite(found.kernels[layer.weight]).all()
