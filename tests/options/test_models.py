"""Names of networks, told without torch: those that packages register, and what a wrong one may mean."""

from __future__ import annotations

import pytest
from torchvision import models

from gaprune.errors import OptionError
from gaprune.options.models import check_model, packaged_names


def test_names_read_from_torchvision_s_files_are_those_that_it_registers() -> None:
    assert list(packaged_names("torchvision")) == sorted(models.list_models(module=models))


def test_a_package_that_is_not_there_has_no_names() -> None:
    assert packaged_names("no_such_package") == ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ResNet-50", "torchvision:resnet50"),
        ("VGG-16", "vgg16"),
        ("mobilenetv2", "torchvision:mobilenet_v2"),
        ("my_package.nets.make", "my_package.nets:make"),
    ],
)
def test_a_wrong_name_gets_the_one_that_may_be_meant(name: str, meant: str) -> None:
    with pytest.raises(OptionError, match=rf"\(did you mean {meant}\?\)"):
        check_model(name)
