from __future__ import annotations

import pytest
import torch
from torch import nn

from gaprune.models.resnet import resnet18


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_imagenet_stem_is_torchvisions_network() -> None:
    assert parameters(resnet18(1000, "imagenet")) == 11_689_512


def test_the_cifar_stem_swaps_a_7x7_for_a_3x3_convolution() -> None:
    assert parameters(resnet18(10, "imagenet")) - parameters(resnet18(10)) == 64 * 3 * (7 * 7 - 3 * 3)


@pytest.mark.parametrize(("stem", "side"), [("cifar", 32), ("imagenet", 8)])
def test_only_the_imagenet_stem_shrinks_the_image(stem: str, side: int) -> None:
    model = resnet18(5, stem).eval()  # type: ignore[arg-type]
    seen = []
    model.get_submodule("layer1").register_forward_hook(lambda *call: seen.append(call[2].shape))
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)
    assert seen == [(1, 64, side, side)]
