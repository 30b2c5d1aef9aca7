from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gaprune.data import ImageSet
from gaprune.prune.compensate.compensation import FORMS, Compensator, Form, stand_in, tap_shares
from gaprune.prune.compensate.connections import resolve_kernels
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.compensate.statistics import PATCH_DAMPINGS, Statistics, collect, consumers, images_wanted
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph, build_graph
from gaprune.prune.rank.removal import _Consumer, obs, removal_curve

MEAN, STD = (120.0, 130.0, 110.0), (60.0, 61.0, 62.0)
SHAPE = (3, 8, 8)


def images(count: int = 40, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.zeros(count, dtype=torch.int64))


class Redundant(nn.Module):
    """A convolution whose last four of eight channels are affine combinations of the first four, and a consumer."""

    def __init__(self, consumer: nn.Module, *, offset: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3).double()
        self.consumer = consumer.double()
        mix = torch.randn(4, 4, dtype=torch.float64)
        bias = self.conv.bias
        assert bias is not None
        with torch.no_grad():
            self.conv.weight[4:] = torch.einsum("ij,jabc->iabc", mix, self.conv.weight[:4])
            bias[4:] = mix @ bias[:4] + (torch.randn(4) if offset else 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.consumer(self.conv(x)).flatten(1)
        return out


def in_double(model: nn.Module, graph: Graph, found: ImageSet) -> Statistics:
    """Statistics of a float64 network: ``collect`` feeds float32, so the network is made to cast."""
    hook = model.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    try:
        return collect(model, graph, found, MEAN, STD, batch_size=16)
    finally:
        hook.remove()


def network_input(found: ImageSet) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (found.images.float() - mean) / std


CONSUMERS = [
    (nn.Conv2d(8, 5, 3), True),
    (nn.Conv2d(8, 5, 3, padding=1), False),
    (nn.Conv2d(8, 5, 3, padding=1, stride=2, bias=False), False),
    (nn.Conv2d(8, 5, 1), True),
    (nn.Conv2d(8, 5, 1, stride=2), True),
    (nn.Conv2d(8, 5, (3, 1), dilation=(2, 1)), True),
]


def without(graph: Graph, *gone: int) -> Masks:
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[list(gone)] = False
    return Masks(neurons)


def largest_difference(model: nn.Module, network: nn.Module, found: ImageSet) -> float:
    x = network_input(found).double()
    with torch.no_grad():
        wanted, got = model(x), network(x)
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("consumer", "offset"), CONSUMERS)
def test_channels_that_are_affine_in_the_kept_ones_go_without_any_loss(
    consumer: nn.Module, offset: bool, form: Form
) -> None:
    model = Redundant(consumer, offset=offset).eval()
    graph = build_graph(model, SHAPE)
    found = images()
    compensator = Compensator(model, graph, in_double(model, graph, found), form=form, damping=1e-13)
    masks = without(graph, 4, 5, 6, 7)
    network = Compactor(model, graph)(masks, compensator(masks))
    assert largest_difference(model, network, found) < 1e-8


@pytest.mark.parametrize(("consumer", "offset"), CONSUMERS)
def test_kernels_whose_inputs_are_affine_in_the_kept_ones_go_without_any_loss(
    consumer: nn.Module, offset: bool
) -> None:
    model = Redundant(consumer, offset=offset).eval()
    graph = build_graph(model, SHAPE)
    found = images()
    compensator = Compensator(model, graph, in_double(model, graph, found), damping=1e-13)
    kernels = np.ones((5, 8), dtype=np.bool_)
    kernels[0, 4:], kernels[1, 5:7], kernels[3, :3], kernels[3, 4] = False, False, False, False
    masks = Masks(np.ones(graph.neurons, dtype=np.bool_), {"consumer.weight": kernels})
    network = Compactor(model, graph)(masks, compensator(masks))
    weight = network.get_parameter("consumer.weight")
    assert not weight[torch.from_numpy(~kernels)].any()
    assert largest_difference(model, network, found) < 1e-8


@pytest.mark.parametrize(
    "consumer", [nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(8, 5, 3, stride=2, bias=False), nn.Conv2d(8, 5, 1, stride=2)]
)
def test_the_form_over_taps_never_errs_more_on_the_calibration_set_than_leaving_channels_out(
    consumer: nn.Module,
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), consumer, nn.Flatten()).double().eval()
    graph = build_graph(model, SHAPE)
    found = images()
    statistics = in_double(model, graph, found)
    weight, patches = model.get_parameter("2.weight").detach().flatten(1), statistics.patches["2.weight"]
    taps = weight.shape[1] // 8

    def error(kept: list[int], new: torch.Tensor) -> float:
        missed = weight.clone()
        missed.view(5, 8, taps)[:, kept] -= new.flatten(2).reshape(5, len(kept), taps)
        return float(((missed @ patches.covariance) * missed).sum())

    for damping in (None, 1e-6, 1.0):
        compensator = Compensator(model, graph, statistics, damping=damping)
        for gone in itertools.combinations(range(8), 3):
            kept = [i for i in range(8) if i not in gone]
            plain = model.get_parameter("2.weight").detach()[:, kept]
            new = compensator(without(graph, *gone))["2.weight"]
            assert error(kept, new) <= error(kept, plain) * (1 + 1e-9)


class Opposed(nn.Module):
    """A channel that is a constant less another one, plus noise: without it a constant is missing."""

    def __init__(self, consumer: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 1)
        self.consumer = consumer
        bias = self.conv.bias
        assert bias is not None
        with torch.no_grad():
            self.conv.weight[7] = -self.conv.weight[0] + 0.01 * torch.randn(3, 1, 1)
            bias[7] = 10.0 - bias[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.consumer(self.conv(x)).flatten(1)
        return out


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_where_nothing_can_hold_a_constant_a_stand_in_is_still_no_worse_than_leaving_channels_out(
    form: Form, kernel: int, bias: bool
) -> None:
    model = Opposed(nn.Conv2d(8, 5, kernel, bias=bias)).eval()
    graph = build_graph(model, SHAPE)
    found = images(100)
    statistics = collect(model, graph, found, MEAN, STD)
    masks = without(graph, 7)
    x = network_input(found)

    def error(network: nn.Module) -> float:
        with torch.no_grad():
            return float((network(x) - model(x)).square().mean())

    compact = Compactor(model, graph)
    left_out = error(compact(masks))
    compensated = compact(masks, Compensator(model, graph, statistics, form=form)(masks))
    assert error(compensated) <= left_out * (1 + 1e-6)
    polished = compact(masks)
    Polisher(model, graph, found, MEAN, STD)(polished, masks)
    assert error(polished) <= left_out * (1 + 1e-6)


def test_re_solved_kernels_give_way_to_plain_removal_where_that_errs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of weights that are far off stand for a re-solve gone wrong; the samples see it, row by row."""
    model = Redundant(nn.Conv2d(8, 5, 3), offset=True).float().eval()
    graph = build_graph(model, SHAPE)
    statistics = collect(model, graph, images(), MEAN, STD)
    kernels = np.ones((5, 8), dtype=np.bool_)
    kernels[:, 6] = False
    masks = Masks(np.ones(graph.neurons, dtype=np.bool_), {"consumer.weight": kernels})
    right = Compensator(model, graph, statistics)(masks)["consumer.weight"]

    def wrong(weight: torch.Tensor, kept: torch.Tensor, *rest: object) -> torch.Tensor:
        new = resolve_kernels(weight, kept, *rest)  # type: ignore[arg-type]
        new[2:] += 5.0
        return new * kept[:, :, None]

    monkeypatch.setattr("gaprune.prune.compensate.compensation.resolve_kernels", wrong)
    found = Compensator(model, graph, statistics)(masks)["consumer.weight"]
    cut = model.get_parameter("consumer.weight").detach() * torch.from_numpy(kernels)[:, :, None, None]
    torch.testing.assert_close(found[:2], right[:2])
    torch.testing.assert_close(found[2:], cut[2:])


def test_the_form_over_channels_gives_way_to_plain_removal_where_that_errs_less() -> None:
    """A checkerboard that the consumer averages away does not miss anything when it goes."""
    rng = np.random.default_rng(0)
    swing, level = rng.integers(10, 60, (40, 1, 1)), rng.integers(60, 180, (40, 1, 1))
    board = np.indices((8, 8)).sum(0) % 2 * 2 - 1
    pixels = np.stack([120 + swing * board, level + 0 * board, level + 0 * board], 1).astype(np.uint8)
    found = ImageSet(torch.from_numpy(pixels), torch.zeros(40, dtype=torch.int64))
    model = Redundant(nn.Conv2d(8, 5, (1, 2)), offset=False).float().eval()
    with torch.no_grad():
        mixing: nn.Conv2d = nn.Conv2d(3, 2, 1, bias=False)
        mixing.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).view(2, 3, 1, 1))
        model.conv, model.consumer = mixing, nn.Conv2d(2, 3, (1, 2))
        model.consumer.weight[:, 1] = torch.randn(3, 1, 1)
    graph = build_graph(model, SHAPE)
    statistics = collect(model, graph, found, (120.0, 120.0, 120.0), STD, taps=False)
    masks = without(graph, 1)
    kept = Compensator(model, graph, statistics, form="channels")(masks)["consumer.weight"]
    torch.testing.assert_close(kept, model.consumer.weight.detach()[:, :1])
    blind = dataclasses.replace(statistics, samples={})
    changed = Compensator(model, graph, blind, form="channels")(masks)["consumer.weight"]
    assert float((changed - kept).abs().max()) > 0.1


def test_damping_over_taps_is_chosen_on_images_that_were_not_fitted() -> None:
    """Where few patches tell little of others the pull to the old weights is strong, where they tell all it is weak."""
    torch.manual_seed(0)
    noise = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 5, 3), nn.Flatten()).eval()
    redundant = Redundant(nn.Conv2d(8, 5, 3), offset=True).float().eval()
    found = {
        name: collect(model, build_graph(model, SHAPE), images(count), MEAN, STD).patches[name].damping
        for name, model, count in (("2.weight", noise, 10), ("consumer.weight", redundant, 400))
    }
    assert found == {"2.weight": max(PATCH_DAMPINGS), "consumer.weight": min(PATCH_DAMPINGS)}


def test_moments_are_those_of_the_inputs_however_batched() -> None:
    model = Redundant(nn.Conv2d(8, 5, 3, padding=1), offset=True).float().eval()
    graph = build_graph(model, SHAPE)
    found = images()
    with torch.no_grad():
        inputs = model.conv(network_input(found)).double().transpose(0, 1).flatten(1)
    for batch in (7, 16, 64):
        statistics = collect(model, graph, found, MEAN, STD, batch_size=batch)
        moments = statistics.fitted["consumer.weight"] + statistics.held_out["consumer.weight"]
        assert moments.count == inputs.shape[1]
        torch.testing.assert_close(moments.mean, inputs.mean(1), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(moments.covariance, torch.cov(inputs, correction=0), rtol=1e-4, atol=1e-5)


def test_a_fifth_of_the_images_is_held_out() -> None:
    model = Redundant(nn.Conv2d(8, 5, 3), offset=True).float().eval()
    statistics = collect(model, build_graph(model, SHAPE), images(), MEAN, STD)
    fitted, held = statistics.fitted["consumer.weight"].count, statistics.held_out["consumer.weight"].count
    assert held / (fitted + held) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (1, 1, 0, 1), (3, 1, "same", 1), (5, 1, "same", 1)],
)
def test_tap_shares_count_the_positions_that_fall_on_data(
    kernel: int, stride: int, padding: int | str, dilation: int
) -> None:
    conv = nn.Conv2d(8, 5, kernel, stride, padding, dilation)
    model = Redundant(conv, offset=True).float().eval()
    statistics = collect(model, build_graph(model, SHAPE), images(), MEAN, STD)
    ones = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    if padding == "same":  # unfold knows no uneven padding
        ends = ((kernel - 1) // 2, kernel // 2)
        ones, padding = F.pad(ones, (*ends, *ends)), 0
    assert isinstance(padding, int)
    patches = F.unfold(ones, kernel, dilation, padding, stride)[0]
    found = tap_shares(conv, statistics.fitted["consumer.weight"])
    torch.testing.assert_close(found, patches.mean(1))


def test_a_stand_in_never_makes_a_pointwise_consumers_error_larger_than_leaving_channels_out() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.Flatten())
    found = images()
    statistics = collect(model, build_graph(model, SHAPE), found, MEAN, STD, batch_size=16)
    moments = statistics.fitted["2.weight"] + statistics.held_out["2.weight"]
    with torch.no_grad():
        inputs = model[1](model[0](network_input(found))).double().transpose(0, 1).flatten(1)
        weight = model[2].weight.double().flatten(1)
    for gone in itertools.combinations(range(8), 3):
        removed = torch.tensor(gone)
        kept = torch.tensor([i for i in range(8) if i not in gone])
        A, a = stand_in(moments.covariance, moments.mean, kept, removed, 1e-12)
        lost = weight[:, removed] @ inputs[removed]
        missed = weight[:, removed] @ (inputs[removed] - A @ inputs[kept] - a[:, None])
        assert missed.square().mean() <= lost.square().mean() * (1 + 1e-9)


def test_the_removal_order_adds_what_brute_force_finds() -> None:
    rng = np.random.default_rng(0)
    weight, sample = rng.normal(size=(4, 6, 3)), rng.normal(size=(6, 6))
    covariance = sample @ sample.T + 0.1 * np.eye(6)
    order, added = removal_curve([_Consumer(weight, covariance, 1e-14, np.arange(6))], 6)
    energy = np.einsum("oit,ij,ojt->", weight, covariance, weight)

    def error(gone: list[int]) -> float:
        kept = [i for i in range(6) if i not in gone]
        explained = np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[np.ix_(kept, gone)])
        left = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, kept)] @ explained
        return float(np.einsum("oit,ij,ojt->", weight[:, gone], left, weight[:, gone]) / energy)

    gone: list[int] = []
    for step, neuron in enumerate(order):
        choices = {i: error([*gone, i]) for i in range(6) if i not in gone}
        assert neuron == min(choices, key=choices.__getitem__)
        gone.append(int(neuron))
        assert sum(added[: step + 1]) == pytest.approx(error(gone), rel=1e-6)


def test_redundant_channels_are_the_first_to_go() -> None:
    model = Redundant(nn.Conv2d(8, 5, 3), offset=True).float().eval()
    graph = build_graph(model, SHAPE)
    worth = np.sort(obs(model, graph, collect(model, graph, images(), MEAN, STD)).neurons)
    assert worth[3] < 1e-3 * worth[4]


def test_a_residual_group_is_judged_by_all_its_consumers() -> None:
    from tiny_factory import small_residual

    torch.manual_seed(0)
    model = small_residual(3).eval()
    graph = build_graph(model, SHAPE)
    assert set(consumers(model, graph)) == {"conv1.weight", "conv2.weight", "shortcut.weight", "head.weight"}
    with torch.no_grad():
        model.get_parameter("conv1.weight")[:, 2] = 0
    one_left = obs(model, graph, collect(model, graph, images(), MEAN, STD)).neurons
    with torch.no_grad():
        model.get_parameter("shortcut.weight")[:, 2] = 0
    none_left = obs(model, graph, collect(model, graph, images(), MEAN, STD)).neurons
    assert one_left[2] > one_left[:12].min()
    assert none_left[2] == none_left[:12].min()


def test_the_smallest_maps_decide_how_many_images_are_wanted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 6), nn.Flatten(), nn.Linear(6, 2))
    assert images_wanted(consumers(model, build_graph(model, SHAPE))) == 80


def test_inputs_that_never_vary_are_no_obstacle() -> None:
    torch.manual_seed(0)
    dead = nn.Conv2d(3, 4, 3)
    with torch.no_grad():
        dead.weight.zero_()
    model = nn.Sequential(dead, nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten()).eval()
    graph = build_graph(model, SHAPE)
    compensator = Compensator(model, graph, collect(model, graph, images(), MEAN, STD))
    neurons = np.ones(graph.neurons, dtype=np.bool_)
    neurons[1] = False
    masks = Masks(neurons)
    network = Compactor(model, graph)(masks, compensator(masks))
    x = network_input(images())
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x), rtol=1e-4, atol=1e-5)
