from __future__ import annotations

import torch
from torch import nn
from torchvision.models import vgg16_bn

from gaprune.models.vgg import VGG16


def test_the_features_are_torchvisions() -> None:
    with torch.device("meta"):
        ours, theirs = VGG16(10).features, vgg16_bn().features
    assert str(ours) == str(theirs)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}


def test_the_head_is_one_linear_layer_over_pooled_features() -> None:
    model = VGG16(7).eval()
    assert [name for name in model.state_dict() if not name.startswith("features.")] == [
        "classifier.weight",
        "classifier.bias",
    ]
    images = torch.randn(2, 3, 64, 48)
    with torch.inference_mode():
        expected = model.classifier(model.features(images).mean((2, 3)))
        torch.testing.assert_close(model(images), expected)
    assert expected.shape == (2, 7)


def test_the_convolutions_have_configuration_ds_parameters() -> None:
    convolutions = [module for module in VGG16(10).modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 13
    assert sum(p.numel() for module in convolutions for p in module.parameters()) == 14_714_688
    assert sum(module.out_channels for module in convolutions) == 4_224
