"""ResNet18 with a stem for small images or with the original one."""

from __future__ import annotations

from typing import Literal

from torch import nn


def resnet18(num_classes: int, stem: Literal["cifar", "imagenet"] = "cifar") -> nn.Module:
    """Torchvision's ResNet18, untrained.

    Args:
        num_classes: outputs of the head.
        stem: ``cifar`` begins with a 3x3 convolution of stride 1 and no max-pool, as is usual for 32x32
            images; ``imagenet`` keeps the 7x7 convolution of stride 2 and the max-pool.
    """
    from torchvision.models import resnet18 as torchvision_resnet18  # slow to import

    model: nn.Module = torchvision_resnet18(num_classes=num_classes)
    if stem == "cifar":
        convolution = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = convolution
        model.maxpool = nn.Identity()
    return model
