from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import PRUNABLE, SHAPE, chain, prepared, residual

from gaprune.errors import OptionError
from gaprune.prune.compensate.statistics import Statistics
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.rank.importance import bn, l2, random, taylor
from gaprune.prune.rank.registry import importance_function, importance_names

FUNCTIONS = {"l2": l2, "bn": bn, "random": random}


def test_l2_is_the_norm_of_incoming_kernels_with_each_layers_mean_at_one() -> None:
    model: Any = prepared(chain())
    found = l2(model, build_graph(model, SHAPE))
    for weight, scores in ((model.conv1.weight, found.neurons[:6]), (model.conv2.weight, found.neurons[6:])):
        norms = weight.detach().pow(2).sum((1, 2, 3)).sqrt().numpy()
        np.testing.assert_allclose(scores, norms / norms.mean())
        assert scores.mean() == pytest.approx(1)


def test_neurons_that_an_addition_joins_are_worth_the_sum_of_their_layers() -> None:
    model: Any = prepared(residual())
    graph = build_graph(model, SHAPE)
    found = l2(model, graph)
    parts = [layer.weight.detach().flatten(1).norm(dim=1).numpy() for layer in (model.stem, model.b)]
    np.testing.assert_allclose(found.neurons[graph.groups[0].slice], sum(part / part.mean() for part in parts))


def test_bn_is_the_scale_and_where_no_batch_norm_follows_the_l2_norm() -> None:
    model: Any = prepared(residual())
    with torch.no_grad():
        model.norm.weight[2] = 0
        model.norm.weight[3] = -5
    graph = build_graph(model, SHAPE)
    found = bn(model, graph)
    scales = model.norm.weight.detach().abs().numpy()
    np.testing.assert_allclose(found.neurons[graph.groups[0].slice], scales / scales.mean())
    assert found.neurons[2] == 0  # a scale of zero is worth nothing, not its L2 norm
    norms = l2(model, graph)
    rest = slice(graph.groups[1].start, None)
    np.testing.assert_allclose(found.neurons[rest], norms.neurons[rest])


def test_kernels_are_worth_their_norms() -> None:
    model: Any = prepared(chain())
    for name in ("l2", "bn"):
        kernels = FUNCTIONS[name](model, build_graph(model, SHAPE)).kernels
        assert list(kernels) == ["conv1.weight", "conv2.weight"]
        norms = model.conv2.weight.detach().flatten(2).norm(dim=2).numpy()
        np.testing.assert_allclose(kernels["conv2.weight"], norms)


def test_random_importance_knows_nothing_of_the_weights_and_is_always_the_same() -> None:
    graph = build_graph(chain(), SHAPE)
    first, second = (random(prepared(chain(), seed), graph) for seed in (0, 1))
    np.testing.assert_array_equal(first.neurons, second.neurons)
    for name in first.kernels:
        np.testing.assert_array_equal(first.kernels[name], second.kernels[name])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("network", PRUNABLE)
def test_every_gene_gets_a_finite_worth_and_weights_stay_as_they_are(name: str, network: str) -> None:
    model = prepared(PRUNABLE[network]())
    graph = build_graph(model, SHAPE)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    found = FUNCTIONS[name](model, graph)
    assert found.neurons.shape == (graph.neurons,)
    assert np.isfinite(found.neurons).all()
    assert (found.neurons >= 0).all()
    assert all(np.isfinite(values).all() for values in found.kernels.values())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["l2", "bn"])
def test_dead_and_broken_weights_get_finite_worth(name: str) -> None:
    model: Any = prepared(chain())
    with torch.no_grad():
        model.conv1.weight.zero_()
        model.norm1.weight.zero_()
        model.conv2.weight[0] = torch.nan
        model.norm2.weight[0] = torch.nan
    found = FUNCTIONS[name](model, build_graph(model, SHAPE))
    assert np.isfinite(found.neurons).all()


def test_taylor_is_what_the_statistics_hold_with_each_groups_mean_at_one() -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    held = np.arange(float(graph.neurons))
    held[6:] *= 1e-6
    statistics = Statistics({}, {}, 10, taylor=held)
    found = taylor(model, graph, statistics)
    for group in graph.groups:
        np.testing.assert_allclose(found.neurons[group.slice], held[group.slice] / held[group.slice].mean())
    np.testing.assert_array_equal(held[:6], np.arange(6.0))  # the statistics stay as they are
    assert found.errors is None
    assert found.kernels.keys() == l2(model, graph).kernels.keys()


def test_taylor_of_a_group_without_any_effect_is_zero() -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    found = taylor(model, graph, Statistics({}, {}, 10, taylor=np.zeros(graph.neurons)))
    assert (found.neurons == 0).all()


def test_taylor_asks_for_statistics_that_hold_it() -> None:
    model = prepared(chain())
    with pytest.raises(ValueError, match="needs statistics with taylor scores"):
        taylor(model, build_graph(model, SHAPE), Statistics({}, {}, 10))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_know_no_better_answer_the_same_when_asked_for_kernels(name: str) -> None:
    model = prepared(chain())
    graph = build_graph(model, SHAPE)
    plain, asked = (FUNCTIONS[name](model, graph, kernels=kernels).kernels for kernels in (False, True))
    assert plain.keys() == asked.keys()
    for weight in plain:
        np.testing.assert_array_equal(plain[weight], asked[weight])


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(OptionError) as caught:
        importance_function("magic")
    assert "unknown importance 'magic': choose one of" in str(caught.value)
    assert set(importance_names()) == {*FUNCTIONS, "obs", "taylor"}
    for name in importance_names():
        assert name in str(caught.value)
        assert callable(importance_function(name))
