from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gaprune.errors import ModelError, OptionError
from gaprune.models import build, check_name, model_names, stem_of

FACTORIES = """
from torch import nn
answer = 42
def linear(num_classes): return nn.Linear(3, num_classes)
def no_head(): return "a network"
def fixed(): return nn.Linear(3, 7)
def wide(width): return nn.Linear(3, width)
def anything(**options): return nn.Linear(3, options["num_classes"])
def handed_on(**options): return fixed(**options)
network = nn.Linear(3, 2)
class Net(nn.Linear):
    def __init__(self): super().__init__(3, 5)
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
        ("my_factories:no_head", "my_factories:no_head gave str, expected a torch.nn.Module"),
        ("my_factories:network", "my_factories:network is a network, expected a function or class that builds one"),
        (
            "my_factories:wide",
            r"cannot be called without arguments: .*'width' \(a factory takes num_classes, or no arg",
        ),
        ("nets/mine.py:Net", "'nets/mine.py:Net' names a file: give the module and its factory, nets.mine:Net"),
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
    forms = r"torchvision:NAME, timm:NAME, package\.module:factory"
    with pytest.raises(OptionError, match=rf"unknown model 'vgg61': choose one of vgg16, resnet18, {forms}"):
        build("vgg61", 10)
    with pytest.raises(OptionError, match="unknown stem 'big': choose one of cifar, imagenet"):
        build("resnet18", 10, stem="big")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet50", "torchvision:resnet50"),
        ("ResNet-50", "torchvision:resnet50"),
        ("mobilenetv2", "torchvision:mobilenet_v2"),
        ("resnet17", "resnet18"),
        ("mobilenet", "torchvision:mobilenet_v2"),
        ("my_package.nets.Net", "my_package.nets:Net"),
        ("qqq", None),
    ],
)
def test_an_unknown_name_suggests_what_is_meant(name: str, meant: str | None) -> None:
    with pytest.raises(OptionError) as caught:
        check_name(name)
    assert str(caught.value).partition("(did you mean ")[2] == (f"{meant}?)" if meant else "")


@pytest.mark.parametrize(
    ("name", "outputs"), [("fixed", 7), ("Net", 5), ("anything", 4), ("handed_on", 7), ("linear", 4)]
)
def test_a_factory_need_not_take_the_number_of_classes(factories: None, name: str, outputs: int) -> None:
    model = build(f"my_factories:{name}", 4)
    assert isinstance(model, nn.Linear)
    assert model.out_features == outputs


def test_checking_a_name_calls_no_factory(factories: None) -> None:
    for name in ("my_factories:broken", "my_factories:fixed", "vgg16", "torchvision:resnet50"):
        check_name(name)
    with pytest.raises(ModelError, match="cannot be imported"):
        check_name("no_such_package:f")


def test_a_module_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\ndef net(num_classes): return nn.Linear(3, num_classes)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert isinstance(build("nets_of_mine:net", 3), nn.Linear)


def test_only_networks_with_a_choice_have_another_stem() -> None:
    assert [stem_of(name, "imagenet") for name in ("resnet18", "vgg16", "torchvision:resnet18")] == [
        "imagenet",
        "cifar",
        "cifar",
    ]


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 1 class, got 0"):
        build("vgg16", 0)
