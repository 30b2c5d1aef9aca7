"""Batch norms restated: the same function in eval mode, and in training mode from the first step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gaprune.data.images import ImageSet, normalise
from gaprune.prune.norms.restating import restate_norms

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def pictures(count: int = 48) -> ImageSet:
    torch.manual_seed(0)
    return ImageSet(torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8), torch.zeros(count, dtype=torch.long))


def network(**norm: bool) -> nn.Sequential:
    """Norms whose running statistics are far from what these pictures give, one channel nearly silent."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, **norm), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.Flatten()
    )
    for module in net:
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 4.0, 9.0)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    with torch.no_grad():
        net[0].weight[0] *= 1e-4
    return net.double().eval()


def outputs(net: nn.Module, images: ImageSet, training: bool = False) -> Tensor:
    """In float64; in training mode over all images as one batch, running statistics left as they were."""
    x = normalise(images.images, MEAN, STD).double()
    with torch.no_grad():
        if not training:
            return net.eval()(x)
        saved = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        y = net.train()(x)
        net.load_state_dict(saved)
        net.eval()
        return y


@pytest.fixture(autouse=True)
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_default_dtype()
    monkeypatch.setattr(
        "gaprune.prune.norms.restating.normaliser",
        lambda mean, std, device: lambda batch: normalise(batch, mean, std).to(torch.float64),
    )
    assert before == torch.float32


@pytest.mark.parametrize("batch_size", [7, 48])
def test_in_eval_mode_nothing_changes(batch_size: int) -> None:
    net, images = network(), pictures()
    before = outputs(net, images)
    restate_norms(net, images, MEAN, STD, batch_size=batch_size)
    assert torch.allclose(outputs(net, images), before, rtol=0, atol=1e-12)


def test_training_mode_begins_from_what_eval_mode_gives() -> None:
    net, images = network(), pictures()
    before = outputs(net, images)
    assert (outputs(net, images, training=True) - before).abs().max() > 0.5, "the test's network has nothing to mend"
    restate_norms(net, images, MEAN, STD)
    again = outputs(net, images, training=True)  # biased variances there, unbiased ones here: a share of 1 / count
    assert torch.allclose(again, before, rtol=0, atol=0.02 * float(before.abs().max()))


def test_a_silent_channel_stays_silent() -> None:
    net, images = network(), pictures()
    restate_norms(net, images, MEAN, STD)
    gains = net[1].weight.detach().abs()
    assert gains[0] < 0.01 * gains[1:].min()


@pytest.mark.parametrize("norm", [{"affine": False}, {"track_running_stats": False}])
def test_norms_without_a_second_form_are_left_alone(norm: dict[str, bool]) -> None:
    net, images = network(**norm), pictures()
    before = {name: tensor.clone() for name, tensor in net[1].state_dict().items()}
    restate_norms(net, images, MEAN, STD)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net[1].state_dict().items())


def test_frozen_norms_stay_as_they_are() -> None:
    net, images = network(), pictures()
    net[1].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    restate_norms(net, images, MEAN, STD)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"4.{name}" for name in ("weight", "bias", "running_mean", "running_var")}


def test_norms_that_share_their_scale_stay_as_they_are() -> None:
    """What suits the one would change the other."""
    torch.manual_seed(2)
    one, other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    other.weight = one.weight
    net = nn.Sequential(nn.Conv2d(3, 4, 3), one, nn.ReLU(), nn.Conv2d(4, 4, 3), other, nn.Flatten()).double().eval()
    images = pictures()
    before = outputs(net, images)
    restate_norms(net, images, MEAN, STD)
    assert torch.equal(outputs(net, images), before)


def test_it_leaves_mode_and_hooks_as_they_were() -> None:
    net = network().train()
    restate_norms(net, pictures(), MEAN, STD)
    assert net.training
    assert not any(module._forward_pre_hooks for module in net)
