from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_networks import PRUNABLE, chain
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normalise
from gaprune.prune.norms.recalibration import recalibrate

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)


def pixels(count: int, seed: int = 0, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def image_set(count: int) -> ImageSet:
    return ImageSet(pixels(count), torch.zeros(count, dtype=torch.int64))


def expected(model: Any, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean over batches of the first batch norm's batch means and unbiased batch variances, by hand."""
    means, variances = [], []
    for batch in batches:
        x = model.conv1(normalise(batch, MEAN, STD)).transpose(0, 1).flatten(1)
        means.append(x.mean(1))
        variances.append(x.var(1, unbiased=True))
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(12, 4, [4, 4, 4]), (12, 12, [12]), (12, 256, [12]), (9, 4, [3, 3, 3]), (9, 8, [5, 4]), (10, 4, [4, 3, 3])],
)
def test_statistics_are_the_cumulative_average_over_equal_batches(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    model: Any = chain()
    data = image_set(count)
    with torch.no_grad():
        mean, var = expected(model, list(data.images.split(sizes)))
    recalibrate(model, data, MEAN, STD, batch_size=batch_size)
    torch.testing.assert_close(model.norm1.running_mean, mean)
    torch.testing.assert_close(model.norm1.running_var, var)
    assert int(model.norm1.num_batches_tracked) == len(sizes)


def test_statistics_do_not_depend_on_those_before() -> None:
    fresh, used = chain(), chain()
    used.load_state_dict(fresh.state_dict())
    with torch.no_grad():
        for norm in (used.norm1, used.norm2):
            norm.running_mean.fill_(3)
            norm.running_var.fill_(7)
    for model in (fresh, used):
        recalibrate(model, image_set(8), MEAN, STD, batch_size=4)
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, used.state_dict()[key]), key


def test_the_network_is_left_in_eval_mode_with_its_momenta_and_no_gradients() -> None:
    model: Any = chain().train()
    model.norm1.momentum, model.norm2.momentum = 0.25, None
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    recalibrate(model, image_set(6), MEAN, STD)
    assert not any(module.training for module in model.modules())
    assert (model.norm1.momentum, model.norm2.momentum) == (0.25, None)
    assert all(torch.equal(weights[name], parameter) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_labels_are_not_read() -> None:
    left, right = chain(), chain()
    right.load_state_dict(left.state_dict())
    images = pixels(8)
    recalibrate(left, ImageSet(images, torch.zeros(8, dtype=torch.int64)), MEAN, STD)
    recalibrate(right, ImageSet(images, torch.full((8,), -1)), MEAN, STD)
    assert all(torch.equal(t, right.state_dict()[key]) for key, t in left.state_dict().items())


def test_only_batch_norm_is_in_training_mode_meanwhile() -> None:
    seen: list[tuple[bool, bool]] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, network[1].training))
            return x

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Watch(), nn.Dropout(0.5))
    recalibrate(network, image_set(8), MEAN, STD, batch_size=4)
    assert seen == [(False, True)] * 2


def test_a_last_batch_of_one_image_is_no_trouble_where_maps_are_single_pixels() -> None:
    """Batch norm cannot take the variance of one value."""
    network = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4))
    recalibrate(network, image_set(9), MEAN, STD, batch_size=4)
    assert torch.isfinite(network[1].running_var).all()


@pytest.mark.parametrize(
    "network",
    [
        PRUNABLE["flattened"](),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
)
def test_a_network_without_running_statistics_is_left_alone(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    recalibrate(network, image_set(4), MEAN, STD)
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())
