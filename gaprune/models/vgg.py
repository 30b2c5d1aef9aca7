"""VGG16 with batch norm for small images."""

from __future__ import annotations

from torch import Tensor, nn

# Configuration D of Simonyan and Zisserman (2015): output channels, and None for a 2x2 max-pool.
_CONFIGURATION = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)


class VGG16(nn.Module):
    """Configuration D with batch norm, global average pooling and one linear head.

    The parameters are named as in torchvision's ``vgg16_bn().features``, plus ``classifier.weight`` and
    ``classifier.bias``. Images must be at least 32 pixels high and wide.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = _features()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512, num_classes)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of normalised images (N, 3, H, W)."""
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def _features() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in _CONFIGURATION:
        if width is None:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]  # the stub allows no bias, this one has it
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers)
