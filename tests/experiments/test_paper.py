from __future__ import annotations

import itertools

import pytest

from experiments.paper import NETWORKS, convolutions, implied_parameters, with_neurons
from gaprune.models import build
from gaprune.prune.graph.graph import build_graph


@pytest.mark.parametrize(
    ("number", "params"), [(1, 14_714_688), (2, 2_997_498), (3, 883_781), (4, 439_356), (5, 306_542)]
)
def test_the_papers_widths_of_vgg16_imply_its_parameter_counts(number: int, params: int) -> None:
    printed = NETWORKS["vgg16"].rounds[number - 1]
    assert implied_parameters("vgg16", printed.neurons) == params
    if number > 1:  # 3.1 million are printed for 2,997,498, and 0.5 for 439,356
        assert printed.params == pytest.approx(params / 1e6, abs=0.11)


def test_the_papers_memory_is_that_of_the_convolutions_in_mebibytes() -> None:
    for one in NETWORKS["vgg16"].rounds[1:]:
        params = implied_parameters("vgg16", one.neurons)
        assert params * 4 / 2**20 == pytest.approx(one.megabytes, rel=0.07)
    assert NETWORKS["vgg16"].megabytes == pytest.approx(14_714_688 * 4 / 2**20, abs=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_keeps_about_the_same_share_in_every_round(name: str) -> None:
    rounds = NETWORKS[name].rounds
    for layer in range(len(rounds[0].neurons)):
        widths = [one.neurons[layer] for one in rounds]
        share = widths[1] / widths[0]
        for before, after in itertools.pairwise(widths):
            assert after == pytest.approx(before * share, abs=2)


def test_resnet18_has_twenty_convolutions_of_which_the_paper_prints_eighteen() -> None:
    graph = build_graph(build("resnet18", 10).eval(), (3, 32, 32))
    assert len(convolutions(graph)) == 20
    assert all(len(one.neurons) == 18 for one in NETWORKS["resnet18"].rounds)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_the_printed_rows_of_resnet18_are_its_first_convolutions_in_order_of_computation(number: int) -> None:
    graph = build_graph(build("resnet18", 10).eval(), (3, 32, 32))
    layers = [layer for layer in graph.layers if layer.convolution][:18]
    printed = NETWORKS["resnet18"].rounds[number - 1].neurons
    coupled = {tuple(layer.outputs.tolist()) for layer in layers}
    groups = [
        [place for place, layer in enumerate(layers, start=1) if tuple(layer.outputs.tolist()) == outputs]
        for outputs in coupled
    ]
    assert sorted(group for group in groups if len(group) > 1) == [[1, 3, 5], [7, 8, 10], [12, 13, 15], [17, 18]]
    assert all(len({printed[place - 1] for place in group}) == 1 for group in groups)


def test_widths_that_a_residual_addition_forbids_are_refused() -> None:
    graph = build_graph(build("resnet18", 10).eval(), (3, 32, 32))
    full = tuple(len(layer.outputs) for layer in graph.layers if layer.convolution)
    assert with_neurons(graph, full).neurons.all()
    with pytest.raises(ValueError, match="is coupled to a narrower convolution"):
        with_neurons(graph, (30, *full[1:]))
    with pytest.raises(ValueError, match="expected widths of 20 convolutions, got 18"):
        with_neurons(graph, full[:18])
