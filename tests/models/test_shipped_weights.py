from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from gaprune.data import load_data
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.evaluate.measure import measure
from gaprune.models import build, load_weights, shipped_weights

SHAPE = (3, 32, 32)


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_vgg16_for_cifar10_is_shipped_and_loads(stem: str) -> None:
    shipped = shipped_weights("vgg16", stem, CIFAR10_CLASSES, SHAPE)
    assert shipped is not None
    model = build("vgg16", len(CIFAR10_CLASSES))
    load_weights(model, shipped.path)
    assert shipped.saw_all_training_images
    assert shipped.mean == (125.3069, 122.9501, 113.8660)
    assert shipped.std == (62.9932, 62.0887, 66.7048)
    assert shipped.accuracy == 0.8544
    assert "JPEG" in shipped.description


def test_resnet18_with_the_imagenet_stem_is_shipped_and_says_what_it_was_trained_on() -> None:
    shipped = shipped_weights("resnet18", "imagenet", CIFAR10_CLASSES, SHAPE)
    assert shipped is not None
    model = build("resnet18", len(CIFAR10_CLASSES), stem="imagenet")
    metadata = load_weights(model, shipped.path)
    assert not shipped.saw_all_training_images
    assert len(metadata["train_sha256"]) == 64
    assert tuple(json.loads(metadata["mean"])) == pytest.approx(shipped.mean)
    assert shipped.path.stat().st_size < 30e6


@pytest.mark.parametrize(
    ("model", "classes", "shape"),
    [
        ("resnet18", CIFAR10_CLASSES, SHAPE),
        ("vgg16", CIFAR10_CLASSES[::-1], SHAPE),
        ("vgg16", CIFAR10_CLASSES[:9], SHAPE),
        ("vgg16", CIFAR10_CLASSES, (3, 64, 64)),
        ("vgg16", tuple("0123456789"), SHAPE),
    ],
)
def test_nothing_is_shipped_for_other_networks_or_data(
    model: str, classes: tuple[str, ...], shape: tuple[int, int, int]
) -> None:
    assert shipped_weights(model, "cifar", classes, shape) is None


@pytest.mark.slow
@pytest.mark.skipif("GAPRUNE_CIFAR10_JPEG" not in os.environ, reason="GAPRUNE_CIFAR10_JPEG names no copy of CIFAR-10")
def test_the_shipped_vgg16_keeps_its_accuracy_on_real_images(tmp_path: Path) -> None:
    source = Path(os.environ["GAPRUNE_CIFAR10_JPEG"])
    for part, count in (("train", 1), ("test", 100)):
        for name in CIFAR10_CLASSES:
            folder = tmp_path / "copy" / part / name
            folder.mkdir(parents=True)
            files = sorted((source / part / name).iterdir())
            for file in random.Random(0).sample(files, count):
                (folder / file.name).symlink_to(file.resolve())
    data = load_data("cifar10", data_dir=tmp_path / "copy", cache_dir=tmp_path / "cache")
    shipped = shipped_weights("vgg16", "cifar", data.classes, data.image_shape)
    assert shipped is not None
    model = build("vgg16", 10).eval()
    load_weights(model, shipped.path)
    assert measure(model, data.test, shipped.mean, shipped.std).accuracy > 0.82
