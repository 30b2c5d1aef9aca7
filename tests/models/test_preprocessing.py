from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn
from torchvision.models import MobileNet_V3_Small_Weights, ResNet50_Weights

from gaprune.models import trained_on
from gaprune.models.preprocessing import PREPROCESSING, Preprocessing, of_metadata, of_model, of_timm, of_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG = {"mean": MEAN, "std": STD, "input_size": (3, 224, 224), "crop_pct": 0.875}


def with_attribute(name: str, value: Any) -> nn.Module:
    model = nn.Conv2d(3, 4, 3)
    setattr(model, name, value)
    return model


def test_torchvisions_weights_say_what_their_transforms_do() -> None:
    found = of_weights(ResNet50_Weights.IMAGENET1K_V2)
    assert found is not None
    np.testing.assert_allclose(found.mean, np.array(MEAN) * 255)
    np.testing.assert_allclose(found.std, np.array(STD) * 255)
    assert (found.crop, found.resize) == (224, 232)
    assert "ResNet50_Weights.IMAGENET1K_V2" in found.source
    assert of_weights(MobileNet_V3_Small_Weights.DEFAULT) is not None


def test_a_network_of_a_package_is_asked_by_its_name() -> None:
    found = trained_on("torchvision:efficientnet_b1")
    assert found is not None
    assert (found.crop, found.resize) == (240, 255)
    assert trained_on("vgg16") is None
    assert trained_on("package.module:factory") is None


@pytest.mark.parametrize("config", [CONFIG, SimpleNamespace(**CONFIG)], ids=["mapping", "object"])
@pytest.mark.parametrize("name", ["pretrained_cfg", "default_cfg"])
def test_timms_networks_say_it_in_their_configuration(name: str, config: Any) -> None:
    found = of_model(with_attribute(name, config))
    assert found is not None
    np.testing.assert_allclose(found.mean, np.array(MEAN) * 255)
    assert (found.crop, found.resize, found.source) == (224, 256, f"timm's {name}")


def test_what_a_builder_left_goes_first() -> None:
    left = Preprocessing((1.0,), (2.0,), "me")
    model = with_attribute("pretrained_cfg", CONFIG)
    setattr(model, PREPROCESSING, left)
    assert of_model(model) is left


def test_metadata_of_a_file_may_say_it_for_either_kind_of_pixels() -> None:
    small = of_metadata({"mean": json.dumps(MEAN), "std": json.dumps(STD)}, "a.safetensors")
    large = of_metadata({"mean": "[123.675, 116.28, 103.53]", "std": "[58.395, 57.12, 57.375]"}, "a.safetensors")
    assert small is not None
    assert large is not None
    np.testing.assert_allclose(small.mean, large.mean)
    np.testing.assert_allclose(small.std, large.std)
    assert small.source == "the metadata of a.safetensors"


@pytest.mark.parametrize(
    "config", [None, {}, {"mean": MEAN}, {"mean": "x", "std": STD}, {"mean": (), "std": ()}, {"mean": MEAN, "std": [0]}]
)
def test_who_says_nothing_whole_says_nothing(config: Any) -> None:
    assert of_timm(config) is None
    assert of_metadata({k: json.dumps(v) for k, v in (config or {}).items()}, "a") is None


def test_networks_that_are_silent() -> None:
    assert of_model(nn.Conv2d(3, 4, 3)) is None
    assert of_weights(None) is None
    assert of_weights(object()) is None


def test_factories_find_it_where_the_how_to_says() -> None:
    import gaprune.models

    assert gaprune.models.Preprocessing is Preprocessing
    assert PREPROCESSING == "preprocessing"
