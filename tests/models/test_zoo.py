from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gaprune.errors import CheckpointError, GapruneError, ModelError, OptionError
from gaprune.models import build, pretrained


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v3_small", "torchvision:googlenet"])
def test_torchvisions_networks_have_names_and_give_one_tensor_in_either_mode(name: str) -> None:
    model = build(name, 7)
    for mode in (True, False):
        assert model.train(mode)(torch.zeros(2, 3, 96, 96)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet5", "torchvision has no network 'resnet5': did you mean torchvision:resnet50"),
        ("torchvision:qqqqq", "torchvision has no network 'qqqqq': see its list_models"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no network"),
    ],
)
def test_an_unknown_network_of_a_package_is_refused_with_the_closest(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build(name, 3)


def test_without_timm_one_line_names_the_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"need the package timm: pip install timm$"):
        build("timm:resnet50", 3)


class Config:
    hf_hub_id = "timm/tiny.a1"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    label_names = None


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A stand-in for timm, and for the hub that its weights lie in; the file that the hub gives."""

    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        return nn.Linear(3, num_classes)

    fake: Any = types.ModuleType("timm")
    fake.is_model, fake.list_models = (lambda name: name == "tiny"), lambda: ["tiny"]
    fake.create_model, fake.get_pretrained_cfg = create_model, lambda name: Config()
    hub: Any = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = lambda place, file: tmp_path / file
    monkeypatch.setitem(sys.modules, "timm", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return tmp_path / "model.safetensors"


def test_timms_networks_have_names(timm: Path) -> None:
    model = build("timm:tiny", 4)
    assert isinstance(model, nn.Linear)
    assert model.out_features == 4
    with pytest.raises(OptionError, match=r"timm has no network 'tiny2': did you mean timm:tiny\?"):
        build("timm:tiny2", 4)


def test_timms_weights_are_read_from_safetensors_and_bring_their_normalisation(timm: Path) -> None:
    save_file(nn.Linear(3, 9).state_dict(), timm)
    found = pretrained("timm:tiny")
    assert found.tensors["weight"].shape == (9, 3)
    assert (found.mean, found.std) == ((127.5,) * 3, (63.75,) * 3)


def test_weights_that_cannot_be_downloaded_are_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(CheckpointError, match=r"weights of torchvision:resnet18 cannot be downloaded.*as --checkpoint"):
        pretrained("torchvision:resnet18")


def test_torchvisions_weights_are_read_without_pickles_and_name_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def load(url: str, **options: object) -> dict[str, torch.Tensor]:
        asked.update(options)
        return {"a": torch.ones(1)}

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    found = pretrained("torchvision:resnet18")
    assert asked["weights_only"] is True
    assert found.classes[0] == "tench"
    assert found.mean == pytest.approx((123.675, 116.28, 103.53))
    assert pretrained("torchvision:googlenet").mean == (127.5,) * 3


@pytest.mark.parametrize("name", ["vgg16", "my.module:net"])
def test_only_the_packages_networks_have_pretrained_weights(name: str) -> None:
    with pytest.raises(GapruneError, match="there are no pretrained weights of"):
        pretrained(name)
