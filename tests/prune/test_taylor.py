from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_networks import PRUNABLE, SHAPE, chain, prepared, tokens_first
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data import ImageSet
from gaprune.prune.graph.graph import Graph, Layer, build_graph
from gaprune.prune.rank.taylor import neuron_taylor

MEAN, STD = (120.0, 130.0, 110.0), (60.0, 61.0, 62.0)


def images(count: int = 6) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


def network(name: str) -> nn.Module:
    return prepared(PRUNABLE[name]()).float()


def gated(model: nn.Module, graph: Graph, gate: Tensor, x: Tensor) -> Tensor:
    """The output with every consumer's input times the gates of its neurons."""
    modules = dict(model.named_modules(remove_duplicate=False))
    calls: dict[str, Iterator[Layer]] = {}
    for layer in graph.layers:
        calls.setdefault(layer.name, iter([use for use in graph.layers if use.name == layer.name]))

    def hook(name: str) -> Any:
        def multiply(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            layer = next(calls[name])
            factors = torch.where(
                torch.from_numpy(layer.inputs >= 0), gate[torch.from_numpy(layer.inputs)], torch.ones(())
            )
            return (inputs[0] * (factors[:, None, None] if layer.convolution else factors),)

        return multiply

    handles = [modules[name].register_forward_pre_hook(hook(name)) for name in calls if name in modules]
    try:
        out: Tensor = model(x)
        return out
    finally:
        for handle in handles:
            handle.remove()


def by_gates(model: nn.Module, graph: Graph, found: ImageSet, seed: int) -> NDArray[np.float64]:
    """Mean over images of the squared derivative by a gate on each neuron, image by image."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x = (found.images.float() - mean) / std
    with torch.no_grad():
        chances = model(x).double().softmax(1)
    labels = torch.multinomial(chances, 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    total = np.zeros(graph.neurons)
    for image, label in zip(x, labels, strict=True):
        gate = torch.ones(graph.neurons, requires_grad=True)
        loss = F.cross_entropy(gated(model, graph, gate, image[None]), label[None])
        total += torch.autograd.grad(loss, gate)[0].double().square().numpy()
    return total / len(x)


@pytest.mark.parametrize("name", PRUNABLE)
def test_it_is_the_mean_squared_derivative_by_a_gate_on_each_neuron(name: str) -> None:
    model = network(name)
    graph = build_graph(model, SHAPE)
    found = neuron_taylor(model, graph, images(), MEAN, STD, seed=3)
    wanted = by_gates(model, graph, images(), 3)
    assert found.dtype == np.float64
    assert wanted.max() > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6 * wanted.max())


def test_images_that_lie_on_the_second_axis_are_told_apart() -> None:
    model = prepared(tokens_first()).float()
    graph = build_graph(model, SHAPE)
    wanted = by_gates(model, graph, images(), 3)
    found = neuron_taylor(model, graph, images(), MEAN, STD, seed=3)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6 * wanted.max())


def test_batches_and_labels_given_do_not_matter_and_the_seed_does() -> None:
    model = network("residual")
    graph = build_graph(model, SHAPE)
    whole = neuron_taylor(model, graph, images(), MEAN, STD)
    relabelled = ImageSet(images().images, torch.full((6,), 2))
    np.testing.assert_allclose(neuron_taylor(model, graph, relabelled, MEAN, STD, batch_size=4), whole, rtol=1e-4)
    assert any(
        not np.allclose(neuron_taylor(model, graph, images(), MEAN, STD, seed=seed), whole) for seed in range(1, 4)
    )


def test_a_neuron_that_nobody_hears_is_worth_nothing() -> None:
    model: Any = network("chain")
    with torch.no_grad():
        model.conv2.weight[:, 2] = 0
    found = neuron_taylor(model, build_graph(model, SHAPE), images(), MEAN, STD)
    assert found[2] == 0
    assert (np.delete(found, 2) > 0).any()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_stays_as_it_was(frozen: bool) -> None:
    model: Any = network("chain")
    model.train()
    model.norm2.eval()
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    model.requires_grad_(not frozen)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = build_graph(model, SHAPE)
    with torch.no_grad():
        found = neuron_taylor(model, graph, images(), MEAN, STD)
    assert (found > 0).any()
    assert model.training
    assert model.conv2.training
    assert not model.norm2.training
    assert torch.equal(model.conv1.weight.grad, torch.ones_like(model.conv1.weight))
    assert model.conv2.weight.grad is None
    assert all(parameter.requires_grad is not frozen for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_frozen_weights_give_the_same() -> None:
    model = network("residual")
    graph = build_graph(model, SHAPE)
    free = neuron_taylor(model, graph, images(), MEAN, STD)
    np.testing.assert_allclose(neuron_taylor(model.requires_grad_(False), graph, images(), MEAN, STD), free, rtol=1e-5)


def test_activations_in_place_change_nothing() -> None:
    model: Any = prepared(chain()).float()
    graph = build_graph(model, SHAPE)
    plain = neuron_taylor(model, graph, images(), MEAN, STD)

    def in_place(s: Any, x: Tensor) -> Tensor:
        x = F.relu_(s.norm2(s.conv2(F.relu_(s.norm1(s.conv1(x))))))
        out: Tensor = s.head(x.mean((2, 3)))
        return out

    model.run = in_place
    np.testing.assert_allclose(neuron_taylor(model, graph, images(), MEAN, STD), plain, rtol=1e-5)


@pytest.mark.parametrize("middle", [6, 10])
def test_a_neuron_that_only_a_call_inside_a_module_reads_is_worth_nothing(middle: int) -> None:
    """The module's own input is another tensor, which must not be taken for the call's."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(6, middle, 3, padding=1)
            self.own = nn.Parameter(torch.randn(4, middle, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(F.relu(self.conv(x)), self.own)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), Block(), nn.Flatten(), nn.Linear(64, 3)).eval()
    graph = build_graph(model, SHAPE)
    found = neuron_taylor(model, graph, images(), MEAN, STD)
    read_inside = next(group for group in graph.groups if group.name == "2.conv")
    assert (found[:6] > 0).any()
    assert not found[read_inside.slice].any()
