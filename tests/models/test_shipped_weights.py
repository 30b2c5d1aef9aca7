from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from torch import nn

from gaprune.data import load_data
from gaprune.data.normalisation import CIFAR10_CLASSES
from gaprune.evaluate.measurement import measure
from gaprune.models import ShippedWeights, build, load_weights, shipped_weights

SHAPE = (3, 32, 32)


NETWORKS = {"vgg16": 0.9058, "resnet18": 0.9177, "resnet18-imagenet": 0.8314}
"""Top-1 on the 10,000 test images, by network and stem."""


def shipped_as(name: str) -> ShippedWeights:
    model, _, stem = name.partition("-")
    found = shipped_weights(model, stem or "cifar", CIFAR10_CLASSES, SHAPE)
    assert found is not None
    return found


def loaded(name: str, path: Path) -> tuple[nn.Module, dict[str, str]]:
    model, _, stem = name.partition("-")
    network = build(model, len(CIFAR10_CLASSES), stem=stem or "cifar")
    return network.eval(), load_weights(network, path)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_shipped_says_what_it_was_trained_on(name: str) -> None:
    shipped = shipped_as(name)
    _, metadata = loaded(name, shipped.path)
    assert not shipped.saw_all_training_images
    assert len(metadata["train_sha256"]) == 64
    assert tuple(json.loads(metadata["mean"])) == pytest.approx(shipped.mean)
    assert tuple(json.loads(metadata["std"])) == pytest.approx(shipped.std)
    assert shipped.accuracy == NETWORKS[name]
    assert f"{shipped.accuracy}" in shipped.description
    assert "JPEG" in shipped.description
    assert shipped.path.stat().st_size < 30e6


def test_vgg16_has_no_stem_to_choose() -> None:
    assert shipped_weights("vgg16", "imagenet", CIFAR10_CLASSES, SHAPE) == shipped_as("vgg16")


@pytest.mark.parametrize(
    ("model", "classes", "shape"),
    [
        ("resnet50", CIFAR10_CLASSES, SHAPE),
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
def test_shipped_networks_keep_their_accuracy_on_real_images(tmp_path: Path) -> None:
    source = Path(os.environ["GAPRUNE_CIFAR10_JPEG"])
    for part, count in (("train", 1), ("test", 40)):
        for name in CIFAR10_CLASSES:
            folder = tmp_path / "copy" / part / name
            folder.mkdir(parents=True)
            files = sorted((source / part / name).iterdir())
            for file in random.Random(0).sample(files, count):
                (folder / file.name).symlink_to(file.resolve())
    data = load_data("cifar10", data_dir=tmp_path / "copy", cache_dir=tmp_path / "cache")
    for name, accuracy in NETWORKS.items():
        shipped = shipped_as(name)
        model, _ = loaded(name, shipped.path)
        found = measure(model, data.test, shipped.mean, shipped.std).accuracy
        assert found == pytest.approx(accuracy, abs=0.05), name
