"""Polish brings a compact network nearer to the original's outputs, and changes nothing that is right."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, image_set, random_masks, space_of, tokens_first
from torch import nn

from gaprune.data.images import normalise
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher, _cut_off
from gaprune.prune.compensate.statistics import collect
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.norms.recalibration import recalibrate

IMAGES = image_set(200)


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 10, 3),
        nn.BatchNorm2d(10),
        nn.Flatten(),
        nn.Linear(40, 5),
    )


NETWORKS = {**PRUNABLE, "plain": plain}


def prepared(name: str) -> tuple[nn.Module, Graph]:
    """With batch norm statistics that belong to the images, and scales of both signs."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    recalibrate(model, IMAGES, MEAN, STD)
    return model, build_graph(model, SHAPE)


def error(model: nn.Module, network: nn.Module) -> float:
    x = normalise(IMAGES.images, MEAN, STD)
    with torch.no_grad():
        wanted = model(x)
        return float((network(x) - wanted).square().mean() / wanted.var())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_network_stays_what_it_is(name: str) -> None:
    model, graph = prepared(name)
    network = Compactor(model, graph)(Masks.full(graph))
    Polisher(model, graph, IMAGES, MEAN, STD, batch_size=64)(network, Masks.full(graph))
    assert error(model, network) < 1e-6


@pytest.mark.parametrize("name", ["plain", "chain", "residual"])
def test_polished_networks_are_nearer_to_the_original_than_compensated_ones(name: str) -> None:
    model, graph = prepared(name)
    before = copy.deepcopy(model.state_dict())
    compensate = Compensator(model, graph, collect(model, graph, IMAGES, MEAN, STD))
    polish = Polisher(model, graph, IMAGES, MEAN, STD, batch_size=64)
    for seed in range(4):
        masks = random_masks(space_of(model, graph, genes="neurons"), seed)
        network = Compactor(model, graph)(masks, compensate(masks))
        compensated = error(model, network)
        polish(network, masks)
        assert error(model, network) < compensated
        assert not network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_masked_kernels_stay_zero() -> None:
    model, graph = prepared("plain")
    rng = np.random.default_rng(0)
    masks = Masks(np.ones(graph.neurons, dtype=np.bool_), {"3.weight": rng.random((12, 12)) < 0.5})
    network = Compactor(model, graph)(masks)
    Polisher(model, graph, IMAGES, MEAN, STD)(network, masks)
    weight = network.get_parameter("3.weight")
    assert not weight[torch.from_numpy(~masks.kernels["3.weight"])].any()
    assert error(model, network) < error(model, Compactor(model, graph)(masks))


def test_a_layer_without_bias_hands_its_constant_to_the_batch_norm_behind_it() -> None:
    """Inputs far from zero: without the constant the output would be far off."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 1)
    model = nn.Sequential(first, nn.ReLU(), nn.Conv2d(8, 5, 3, bias=False), nn.BatchNorm2d(5), nn.Flatten()).eval()
    assert first.bias is not None
    nn.init.constant_(first.bias, 20.0)
    recalibrate(model, IMAGES, MEAN, STD)
    graph = build_graph(model, SHAPE)
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[:3] = False
    network = Compactor(model, graph)(Masks(neurons))
    Polisher(model, graph, IMAGES, MEAN, STD)(network, Masks(neurons))
    x = normalise(IMAGES.images, MEAN, STD)
    with torch.no_grad():
        missed = network(x) - model(x)
    assert missed.mean().abs() < 1e-4
    assert error(model, network) < 0.3


def test_a_batch_norm_without_running_statistics_before_a_rectifier_is_no_obstacle() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), norm, nn.ReLU(), nn.Flatten()).eval()
    graph = build_graph(model, SHAPE)
    assert [pair.rectified for pair in graph.norms] == [True]
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[:2] = False
    network = Compactor(model, graph)(Masks(neurons))
    before = error(model, network)
    Polisher(model, graph, IMAGES, MEAN, STD)(network, Masks(neurons))
    assert error(model, network) < before


def test_behind_a_rectifier_outputs_that_are_cut_off_anyway_are_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(*layers).eval()
    recalibrate(model, IMAGES, MEAN, STD)
    nn.init.constant_(model[3].bias, -0.5)
    graph = build_graph(model, SHAPE)
    assert [pair.rectified for pair in graph.norms] == [True]
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[:6] = False
    errors = []
    for sweeps in (1, 2, 4):
        monkeypatch.setattr("gaprune.prune.compensate.polish.SWEEPS", sweeps)
        network = Compactor(model, graph)(Masks(neurons))
        Polisher(model, graph, IMAGES, MEAN, STD)(network, Masks(neurons))
        errors.append(error(model, network))
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.97 * errors[0]


@pytest.mark.parametrize("name", ["depthwise", "depthwise with a multiplier", "grouped"])
def test_grouped_and_depthwise_layers_are_solved_for_too(name: str) -> None:
    """Fed by a layer that does no more what it did: each channel has its own scale to be put right."""
    model, graph = prepared(name)
    first, middle = ("before", "grouped") if name == "grouped" else ("expand", "depth")
    network = Compactor(model, graph)(Masks.full(graph))
    with torch.no_grad():
        network.get_parameter(f"{first}.weight").mul_(0.8)
        network.get_parameter(f"{first}.bias").mul_(0.8)
    broken = error(model, network)
    weight = network.get_parameter(f"{middle}.weight").detach().clone()
    Polisher(model, graph, IMAGES, MEAN, STD, batch_size=64)(network, Masks.full(graph))
    assert not torch.equal(network.get_parameter(f"{middle}.weight"), weight)
    assert error(model, network) < 0.1 * broken


def test_layers_whose_images_lie_on_the_second_axis_stay_where_they_came_in_batches() -> None:
    model = tokens_first().eval()
    graph = build_graph(model, SHAPE)
    masks = Masks(np.arange(graph.neurons) % 2 == 0)
    network = Compactor(model, graph)(masks)
    before = network.get_parameter("second.weight").clone()
    Polisher(model, graph, IMAGES, MEAN, STD, batch_size=64)(network, masks)
    assert torch.equal(network.get_parameter("second.weight"), before)


def test_cut_grouped_layers_are_nearer_after_the_polish() -> None:
    model, graph = prepared("grouped")
    polish = Polisher(model, graph, IMAGES, MEAN, STD, batch_size=64)
    for seed in range(3):
        masks = random_masks(space_of(model, graph, genes="neurons"), seed)
        network = Compactor(model, graph)(masks)
        before = error(model, network)
        polish(network, masks)
        assert error(model, network) < before


def test_a_layer_that_held_out_images_find_no_better_solved_for_keeps_its_weights() -> None:
    """More inputs than images, and nothing in those that stay that tells of those that went."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 96, 8), nn.Flatten(), nn.Linear(96, 40)).eval()
    graph, images = build_graph(model, SHAPE), image_set(40)
    neurons = np.arange(graph.neurons) < 48
    network = Compactor(model, graph)(Masks(neurons))
    weight = network.get_parameter("2.weight").detach().clone()
    Polisher(model, graph, images, MEAN, STD)(network, Masks(neurons))
    assert torch.equal(network.get_parameter("2.weight"), weight)


def test_beyond_an_upper_bound_outputs_are_not_fitted_either() -> None:
    wanted, given = torch.tensor([[-1.0, 1.0, 9.0, 9.0]]).T, torch.tensor([[-4.0, 3.0, 8.0, 2.0]]).T
    norm = nn.BatchNorm2d(1).eval()
    found = _cut_off(wanted, given, norm, (0.0, 6.0)).flatten().tolist()
    edge = 6 * float((norm.running_var + norm.eps).sqrt())
    assert found == pytest.approx([-4.0, 1.0, 8.0, edge], abs=1e-6)
    nn.init.constant_(norm.weight, -1.0)
    found = _cut_off(-wanted, -given, norm, (0.0, 6.0)).flatten().tolist()
    assert found == pytest.approx([4.0, -1.0, -8.0, -edge], abs=1e-6)
