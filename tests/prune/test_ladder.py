from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_factory import small_residual
from tiny_texts import tiny_config
from torch import nn

from gaprune.evolve.initial import informed_member
from gaprune.evolve.ranked import rank
from gaprune.models import build
from gaprune.prune.checking import checked_graph
from gaprune.prune.cut.costs import CostModel, kept_kernels
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.graph.inputs import Inputs
from gaprune.prune.rank.importance import Importance, l2
from gaprune.prune.rank.ladder import LEAST_HEADS, LEAST_INSIDE, WidthFlops, build_ladder
from gaprune.prune.space import PruningSpace
from gaprune.text.networks import BertClassifier

SHAPE = (3, 8, 8)


def depthwise() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(6 * 16, 2))


def layer_flops(graph: Graph, masks: Masks) -> int:
    return sum(kept_kernels(layer, masks) * layer.kernel * layer.positions for layer in graph.layers)


@pytest.fixture(params=["residual", "depthwise"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return small_residual(3).eval() if request.param == "residual" else depthwise().eval()


def first_kept(graph: Graph, widths: np.ndarray) -> Masks:
    neurons = np.zeros(graph.neurons, dtype=np.bool_)
    for group, width in zip(graph.groups, widths, strict=True):
        neurons[group.start : group.start + int(width)] = True
    return Masks(neurons)


def test_flops_of_widths_are_those_of_the_cost_formula(network: nn.Module) -> None:
    graph = build_graph(network, SHAPE)
    flops = WidthFlops(graph)
    rng = np.random.default_rng(0)
    for _ in range(10):
        widths = np.array([rng.integers(1, group.size + 1) for group in graph.groups], dtype=float)
        assert flops.total(widths) == pytest.approx(layer_flops(graph, first_kept(graph, widths)))


def test_the_saving_of_a_neuron_is_the_gradient(network: nn.Module) -> None:
    graph = build_graph(network, SHAPE)
    flops = WidthFlops(graph)
    widths = np.array([group.size for group in graph.groups], dtype=float)
    for index, saved in enumerate(flops.saving(widths)):
        step = np.zeros(len(widths))
        step[index] = 1e-4
        numeric = (flops.total(widths + step) - flops.total(widths - step)) / 2e-4
        assert saved == pytest.approx(numeric, rel=1e-6)


def test_a_ladder_goes_from_one_neuron_a_group_to_the_whole_network(network: nn.Module) -> None:
    graph = build_graph(network, SHAPE)
    rng = np.random.default_rng(0)
    ladder = build_ladder(graph, rng.random(graph.neurons), rng.random(graph.neurons))
    assert (np.diff(ladder.levels) >= 0).all()
    assert (np.diff(ladder.shares, axis=0) >= 0).all()
    np.testing.assert_array_equal(ladder.at(1.0), 1.0)
    sizes = np.array([group.size for group in graph.groups])
    np.testing.assert_allclose(ladder.shares[0] * sizes, 1.0)


def test_cheap_errors_go_first() -> None:
    graph = build_graph(small_residual(3).eval(), SHAPE)
    errors = np.ones(graph.neurons)
    free = graph.groups[1]
    errors[free.slice] = 1e-9
    ladder = build_ladder(graph, np.arange(graph.neurons, dtype=float), errors)
    others = [index for index in range(len(graph.groups)) if index != 1]
    halfway = ladder.shares[ladder.shares[:, 1] > 1.5 / free.size]
    assert (halfway[:, others] == 1.0).all()


class Inverted(nn.Module):
    """Two inverted residuals behind a stem, between two narrow streams."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((8, 24, 6), (6, 32, 6))
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU6(), nn.Conv2d(b, b, 3, padding=1, groups=b), nn.Conv2d(b, c, 1))
            for a, b, c in sizes
        )
        self.last = nn.Conv2d(6, 20, 1)
        self.head = nn.Linear(20, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks[0](self.stem(x))
        x = self.last(x + self.blocks[1](x))
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def test_in_networks_with_depthwise_layers_blocks_get_narrower_alike_and_streams_last() -> None:
    """Whatever the errors are."""
    torch.manual_seed(0)
    graph = build_graph(Inverted().eval(), SHAPE)
    names = [group.name for group in graph.groups]
    assert names == ["stem", "blocks.0.0", "blocks.0.3", "blocks.1.0", "last"]
    ladder = build_ladder(graph, np.random.default_rng(0).random(graph.neurons), np.arange(graph.neurons, dtype=float))
    streams = ladder.shares[:, [names.index("blocks.0.3")]]
    inside = ladder.shares[:, [names.index(name) for name in ("stem", "blocks.0.0", "blocks.1.0", "last")]]
    whole = (streams == 1).all(1)
    assert (inside[whole].max(1) == inside[whole].min(1)).all()
    assert inside[whole].min() == pytest.approx(LEAST_INSIDE)
    assert (inside[~whole] <= LEAST_INSIDE).all()


@pytest.fixture(scope="module")
def bert_graph() -> Graph:
    """Of a BERT of two layers, four heads and 32 feed-forward neurons each."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = BertClassifier(transformers.BertForSequenceClassification(tiny_config())).eval()
    ids = torch.randint(1, 20, (2, 8))
    return checked_graph(model, Inputs((ids, torch.ones_like(ids))))


def test_where_whole_heads_go_feed_forward_neurons_go_alike_and_heads_at_a_quarter_of_their_pace(
    bert_graph: Graph,
) -> None:
    """Whatever the errors are."""
    sizes = [group.size for group in bert_graph.groups]
    assert sizes == [4, 32, 4, 32, 16], "heads and neurons of both layers, and the pooler"
    errors = np.random.default_rng(0).random(bert_graph.neurons)
    ladder = build_ladder(bert_graph, errors, errors)
    neurons, heads, pooler = ladder.shares[:, [1, 3]], ladder.shares[:, [0, 2]], ladder.shares[:, 4]
    assert (neurons[:, 0] == neurons[:, 1]).all()
    assert (heads[:, 0] == heads[:, 1]).all()
    first = neurons[:, 0] >= LEAST_INSIDE
    np.testing.assert_allclose(1 - heads[first, 0], (1 - neurons[first, 0]) / 4)
    assert (pooler[first] == 1).all(), "a layer beside the blocks saves next to nothing"
    assert neurons[first].min() == pytest.approx(LEAST_INSIDE)
    assert heads[first].min() == pytest.approx(LEAST_HEADS)
    np.testing.assert_array_equal(ladder.shares[-1], 1.0)
    assert (np.diff(ladder.levels) >= 0).all()
    bent = build_ladder(bert_graph, errors, errors, np.exp([0.0, 0.7, 0.0, 0.0, 0.0]))
    assert bent.at(0.8)[1] > bent.at(0.8)[3], "CMA-ES tries others"


def test_weights_of_groups_bend_the_ladder_with_depthwise_layers_too() -> None:
    """Else each ladder that CMA-ES tries would be the same one."""
    torch.manual_seed(0)
    graph = build_graph(Inverted().eval(), SHAPE)
    worth = np.random.default_rng(0).random(graph.neurons)
    tilt = np.array([0.0, 0.7, 0.0, -0.7, 0.0])
    plain, same, bent = (build_ladder(graph, worth, worth, weights) for weights in (None, np.ones(5), np.exp(tilt)))
    np.testing.assert_array_equal(plain.shares, same.shares)
    middle = (plain.shares[:, 0] > 0.5) & (plain.shares[:, 0] < 0.9)
    assert (bent.shares[middle, 1] > plain.shares[middle, 1]).all()
    assert (bent.shares[middle, 3] < plain.shares[middle, 3]).all()
    np.testing.assert_array_equal(bent.shares[:, [0, 2, 4]], plain.shares[:, [0, 2, 4]])
    assert (np.diff(bent.levels) >= 0).all()
    np.testing.assert_array_equal(bent.at(1.0), 1.0)


def test_first_genomes_have_the_ladders_widths_and_the_budgets_cost() -> None:
    torch.manual_seed(0)
    model = build("resnet18", 10).eval()
    graph = build_graph(model, (3, 32, 32))
    found = l2(model, graph)
    errors = np.concatenate([np.full(g.size, 10.0 ** (index % 3)) for index, g in enumerate(graph.groups)])
    space = PruningSpace(graph, CostModel(model, graph), Importance(found.neurons, found.kernels, errors))
    plain = PruningSpace(graph, CostModel(model, graph), found)
    member = informed_member(rank(space), 0.3, np.random.default_rng(3))
    assert space.cost(member) == pytest.approx(0.3, rel=0.02)
    np.testing.assert_array_equal(plain.shares(0.4), 0.4)
    kept = np.array([member[g.slice].mean() for g in graph.groups])
    ladder = space.shares(np.sqrt(0.3))
    assert np.corrcoef(kept, ladder)[0, 1] > 0.8
    np.testing.assert_array_equal(space.shares(1.0), 1.0)


def test_grouped_convolutions_are_no_heads() -> None:
    """One neuron stands for a channel of each group there, as one head does for its features."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten()]
    graph = build_graph(nn.Sequential(*parts, nn.Linear(4 * 36, 2)).eval(), SHAPE)
    free = np.zeros(graph.neurons)
    free[graph.groups[-1].start :] = 1.0
    ladder = build_ladder(graph, np.arange(graph.neurons, dtype=np.float64), free)
    middle = ladder.shares[len(ladder.shares) // 2]
    assert middle[0] < middle[-1], "what adds no error goes first"
