"""Anchored recalibration: a batch norm gives what the original's gives, in mean and variance, channel by channel."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import MEAN, PRUNABLE, SHAPE, STD, Net, chain, conv, image_set, pooled, random_masks, space_of
from torch import Tensor, nn
from torch.nn import functional as F

from gaprune.data.images import ImageSet
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import build_graph
from gaprune.prune.norms.recalibration import Anchors, Recalibrator, kept_anchors, recalibrate, take_anchors

IMAGES = image_set(30)
BATCH = 8


class Double(nn.Module):
    """A network in double precision behind images in single."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, x: Tensor) -> Any:
        return self.network(x.double())


def many_norms() -> nn.Module:
    """Dense, grouped and depthwise convolutions; a norm without scales, one called twice, others than batch norm."""

    def run(s: Any, x: Tensor) -> Tensor:
        x = F.relu(s.norm1(s.conv1(x)))
        x = F.relu6(s.norm2(s.grouped(x)))
        x = s.group_norm(F.silu(s.norm3(s.depth(x))))
        x = s.twice(s.conv4(s.twice(x)))
        return pooled(s, s.instance(s.batch_only(x)))

    return Net(
        run,
        conv1=conv(3, 8),
        norm1=nn.BatchNorm2d(8),
        grouped=conv(8, 8, groups=2),
        norm2=nn.BatchNorm2d(8, affine=False),
        depth=conv(8, 8, groups=8),
        norm3=nn.BatchNorm2d(8, eps=1e-2),
        group_norm=nn.GroupNorm(2, 8),
        twice=nn.BatchNorm2d(8),
        conv4=conv(8, 8, 1),
        batch_only=nn.BatchNorm2d(8, track_running_stats=False),
        instance=nn.InstanceNorm2d(8, track_running_stats=True),
        head=nn.Linear(8, 3),
    )


NETWORKS = {**{name: PRUNABLE[name] for name in ("chain", "residual", "dense block", "depthwise")}, "many": many_norms}


def strange(model: nn.Module) -> nn.Module:
    """The network, its norms' running statistics and scales having nothing to do with the images."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                if name != "num_batches_tracked":
                    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                    tensor.data.copy_(drawn.square() * 5 + 0.01 if name == "running_var" else drawn)
    return model.eval()


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return strange(Double(NETWORKS[name]()))


def anchors_of(model: nn.Module, images: ImageSet = IMAGES, batch_size: int = BATCH) -> Anchors:
    return take_anchors(model, images, MEAN, STD, batch_size=batch_size)


def anchored(network: nn.Module, anchors: Anchors, images: ImageSet = IMAGES, batch_size: int = BATCH) -> nn.Module:
    recalibrate(network, images, MEAN, STD, batch_size=batch_size, anchors=anchors)
    return network


def given_by(model: nn.Module, path: str) -> Tensor:
    """(channels, samples) that a norm gives for all images at once."""
    seen: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda module, inputs, out: seen.append(out))
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (MEAN, STD))
    with torch.no_grad():
        model((IMAGES.images.float() - mean) / std)
    handle.remove()
    return seen[0].transpose(0, 1).flatten(1)


def running(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_network_stays_what_it_is(name: str) -> None:
    model = made(name)
    before = copy.deepcopy(model.state_dict())
    anchored(model, anchors_of(model))
    for key, tensor in model.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(
                tensor, before[key], rtol=1e-11, atol=1e-11, msg=lambda text, key=key: key + text
            )


@pytest.mark.parametrize("batch_size", [30, BATCH])
def test_it_is_the_cumulative_average_where_the_calibration_moments_are_the_running_ones(batch_size: int) -> None:
    torch.manual_seed(0)
    model: Any = Double(nn.Sequential(conv(3, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3)))
    recalibrate(model, IMAGES, MEAN, STD, batch_size=batch_size)
    anchors = anchors_of(model, batch_size=batch_size)
    with torch.no_grad():
        model.network[0].weight *= torch.rand(6, 1, 1, 1) * 3
    other = copy.deepcopy(model)
    recalibrate(model, IMAGES, MEAN, STD, batch_size=batch_size)
    anchored(other, anchors, batch_size=batch_size)
    for key, tensor in running(model).items():
        torch.testing.assert_close(running(other)[key], tensor, rtol=1e-11, atol=1e-11)


def test_so_it_is_for_all_norms_of_a_network_but_for_biased_variances() -> None:
    """In a batch's own pass variances are biased, in what is kept they are not: one part in as many samples."""
    torch.manual_seed(0)
    model: Any = Double(chain())
    recalibrate(model, IMAGES, MEAN, STD)
    anchors = anchors_of(model, batch_size=30)
    with torch.no_grad():
        model.network.conv1.weight[2] *= 3
    other = copy.deepcopy(model)
    recalibrate(model, IMAGES, MEAN, STD)
    anchored(other, anchors, batch_size=30)
    for key, tensor in running(model).items():
        torch.testing.assert_close(running(other)[key], tensor, rtol=1 / 400, atol=1 / 400)


@pytest.mark.parametrize("name", ["chain", "depthwise"])
@pytest.mark.parametrize("seed", range(3))
def test_norms_of_a_compact_network_give_what_the_originals_give(name: str, seed: int) -> None:
    model = made(name)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-12  # it counts in both networks
    graph = build_graph(model, SHAPE)
    masks = random_masks(space_of(model, graph, genes="both"), seed)
    network = Compactor(model, graph)(masks)
    anchors = kept_anchors(anchors_of(model, batch_size=30), graph, masks)
    anchored(network, anchors, batch_size=30)
    for path in anchors:
        axes = graph.axes.get(f"{path}.running_mean", (None,))[0]
        wanted = given_by(model, path)
        wanted = wanted if axes is None else wanted[masks.kept(axes)]
        found = given_by(network, path)
        torch.testing.assert_close(found.mean(1), wanted.mean(1), rtol=1e-9, atol=1e-9)
        lively = found.std(1) > 1e-4  # a channel may have lost all that it varies with
        torch.testing.assert_close(found.std(1)[lively], wanted.std(1)[lively], rtol=1e-6, atol=0)
        assert lively.any()


def test_tied_connections_leave_norms_in_their_order() -> None:
    model = made("chain")
    graph = build_graph(model, SHAPE)
    space = space_of(model, graph, genes="both", connection_groups=2)
    bits = np.zeros(space.layout.size, dtype=np.bool_)
    bits[: graph.neurons] = np.random.default_rng(0).random(graph.neurons) < 0.7
    masks = space.masks(space.layout.pack(space.repair(bits)))
    assert masks.groupings
    network = Compactor(model, graph)(masks)
    Recalibrator(IMAGES, MEAN, STD, 30, graph, anchors_of(model, batch_size=30))(network, masks)
    wanted = given_by(model, "network.norm2")[masks.kept(graph.axes["network.norm2.running_mean"][0])]
    torch.testing.assert_close(given_by(network, "network.norm2").mean(1), wanted.mean(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eps", [1e-3, 1e-5, 1e-12])
def test_a_channel_that_is_silent_in_the_original_stays_silent(eps: float) -> None:
    torch.manual_seed(0)
    model: Any = strange(Double(nn.Sequential(conv(3, 4), nn.BatchNorm2d(4, eps=eps), nn.Flatten())))
    network = copy.deepcopy(model)
    with torch.no_grad():
        model.network[0].weight[1] = 0.0
    anchors = anchors_of(model)
    wanted, noisy = given_by(model, "network.1")[1], given_by(network, "network.1")[1]
    anchored(network, anchors)
    found = given_by(network, "network.1")[1]
    assert noisy.std() > 0.05
    assert torch.isfinite(found).all()
    assert found.std() < 0.01 + 0.9 * eps**0.5
    assert (found.mean() - wanted.mean()).abs() < 0.02


def test_a_channel_that_falls_silent_keeps_its_mean_and_stays_finite() -> None:
    torch.manual_seed(0)
    model: Any = strange(Double(nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.Flatten())))
    anchors, wanted = anchors_of(model, batch_size=30), given_by(model, "network.1")[1].mean()
    with torch.no_grad():
        model.network[0].weight[1] = 0.0
    anchored(model, anchors, batch_size=30)
    assert (model.network[1].running_var >= 0).all()
    torch.testing.assert_close(given_by(model, "network.1")[1].mean(), wanted, rtol=1e-9, atol=1e-9)


def test_weights_modes_momenta_and_other_norms_are_left_alone() -> None:
    model: Any = made("many")
    model.network.norm1.momentum = None
    anchors = anchors_of(model)
    assert set(anchors) == {f"network.{name}" for name in ("norm1", "norm2", "norm3", "twice")}
    assert len(anchors["network.twice"].means) == 2 * len(anchors["network.norm1"].means)
    with torch.no_grad():
        model.network.conv1.weight *= 2
    before, parameters = copy.deepcopy(model.state_dict()), dict(model.named_parameters())
    anchored(model, anchors)
    assert {name for name, tensor in parameters.items() if dict(model.named_parameters())[name] is not tensor} == set()
    assert model.network.norm2.weight is None
    assert model.network.norm1.momentum is None
    assert not any(module.training for module in model.modules())
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key for key in changed if "instance" in key} == set()
    assert {key.rpartition(".")[2] for key in changed} == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_norm_that_nobody_calls_is_left_alone() -> None:
    model: Any = made("chain")
    model.network.spare = strange(nn.BatchNorm2d(5).double())
    before = running(model)
    anchors = anchors_of(model)
    assert "network.spare" not in anchors
    anchored(model, anchors)
    assert torch.equal(before["network.spare.running_mean"], model.network.spare.running_mean)


def test_a_network_whose_pass_fails_is_left_with_its_own_scales() -> None:
    model: Any = made("chain")
    anchors, weight = anchors_of(model), model.network.norm1.weight
    handle = model.network.norm2.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        anchored(model, anchors)
    handle.remove()
    assert model.network.norm1.weight is weight
    assert not model.network.norm1._forward_pre_hooks


def test_narrower_images_than_the_trainings_do_not_wake_a_channel() -> None:
    """What plain recalibration does wrong: a channel that hardly varies on these images comes out at unit variance."""
    model: Any = made("chain")
    with torch.no_grad():
        model.network.conv1.weight[0] *= 1e-3
        model.network.norm1.running_var[0] = 1.0
    plain, kept = copy.deepcopy(model), copy.deepcopy(model)
    recalibrate(plain, IMAGES, MEAN, STD)
    Recalibrator(IMAGES, MEAN, STD, graph=build_graph(model, SHAPE), anchors=anchors_of(model, batch_size=256))(
        kept, Masks.full(build_graph(model, SHAPE))
    )
    spread = [given_by(network, "network.norm1")[0].std() for network in (model, plain, kept)]
    assert spread[1] > 50 * spread[0]
    torch.testing.assert_close(spread[2], spread[0], rtol=1e-9, atol=0)
