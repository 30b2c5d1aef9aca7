from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gaprune.errors import ModelError, OptionError
from gaprune.models import build, model_names

FACTORIES = """
from torch import nn
answer = 42
def linear(num_classes): return nn.Linear(3, num_classes)
def no_head(): return nn.Linear(3, 2)
def broken(num_classes): raise RuntimeError("no weights\\nfor you")
def number(num_classes): return num_classes
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_factories.py").write_text(FACTORIES)
    (tmp_path / "my_broken.py").write_text("raise ValueError('bad module')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_factories", raising=False)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_every_name_builds_a_classifier_of_small_images(name: str, stem: str) -> None:
    model = build(name, 6, stem=stem).eval()
    with torch.inference_mode():
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 6)


def test_vgg16_ignores_the_stem() -> None:
    names = [list(build("vgg16", 2, stem=stem).state_dict()) for stem in ("cifar", "imagenet")]
    assert names[0] == names[1]


def test_a_seed_repeats_the_initial_weights() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return list(build("vgg16", 2).parameters())

    assert all(torch.equal(a, b) for a, b in zip(weights(), weights(), strict=True))


def test_torchvisions_names_and_own_factories_build(factories: None) -> None:
    resnet34 = build("torchvision.models:resnet34", 9)
    assert isinstance(resnet34.fc, nn.Linear)
    assert resnet34.fc.out_features == 9
    linear = build("my_factories:linear", 4)
    assert isinstance(linear, nn.Linear)
    assert linear.out_features == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package:f", "no_such_package:f cannot be imported: ModuleNotFoundError: No module named"),
        ("my_broken:f", "my_broken:f cannot be imported: ValueError: bad module"),
        ("my_factories:none", "cannot be imported: AttributeError: .* has no attribute 'none'"),
        ("my_factories:answer", "my_factories:answer is int, expected a callable"),
        ("my_factories:no_head", "cannot be called with num_classes=10: TypeError: no_head"),
        ("my_factories:broken", "cannot be called with num_classes=10: RuntimeError: no weights$"),
        ("my_factories:number", "my_factories:number gave int, expected a torch.nn.Module"),
        (":f", "':f' is not of the form package.module:factory"),
        ("package:", "'package:' is not of the form"),
        ("..models:f", "'..models:f' is not of the form"),
    ],
)
def test_a_factory_that_does_not_work_is_refused_in_one_line(factories: None, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build(name, 10)
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(
        OptionError, match=r"unknown model 'vgg61': choose one of vgg16, resnet18, package\.module:factory"
    ):
        build("vgg61", 10)
    with pytest.raises(OptionError, match="unknown stem 'big': choose one of cifar, imagenet"):
        build("resnet18", 10, stem="big")


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 1 class, got 0"):
        build("vgg16", 0)
