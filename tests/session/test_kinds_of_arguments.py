"""No argument of another kind becomes a default: it is refused in one line, before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gaprune
from gaprune.data import ImageData
from gaprune.errors import GapruneError, OptionError
from gaprune.session.own import check_kinds

LINEAR = nn.Linear(2, 2)
TENSORS = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4) % 2)

MODELS = [
    (nn.Linear, r"got the class Linear: make one, Linear\(...\)"),
    (LINEAR.state_dict(), r"got a state dict: load it first, network.load_state_dict"),
    ({"model": 1}, "got an object of type dict: load it first"),
    (Path("weights.pth"), "got the path weights.pth: give the name, and checkpoint='weights.pth'"),
    (lambda: LINEAR, "got an object of type function: call it"),
    (None, "model must be a trained network, .* got None"),
    ([LINEAR], "got a list of 1"),
    (torch.zeros(3), "got an object of type Tensor"),
    (7, "got an object of type int"),
]
DATA = [
    (None, "data must be .* got None"),
    (TENSORS, r"object of type TensorDataset: gaprune.image_data\(train, test\) makes one of it"),
    (DataLoader(TENSORS), "gaprune.image_data"),
    ((torch.zeros(4, 3, 8, 8), [0, 1, 0, 1]), "gaprune.image_data"),
    (ImageData, "got the class ImageData: make one first"),
    (np.zeros((4, 3, 8, 8)), "got an object of type ndarray"),
    (["cifar10"], "got a list of 1"),
    (LINEAR, "got an object of type Linear"),
]


@pytest.mark.parametrize(("model", "message"), MODELS)
def test_what_is_no_network_is_refused(model: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        gaprune.search(model, "digits")


@pytest.mark.parametrize(("data", "message"), DATA)
def test_what_is_no_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        gaprune.search(LINEAR, data)


@pytest.mark.parametrize("what", [{"model": "vgg16"}, {"data": "digits"}, {"model": nn.Linear}, {"data": TENSORS}])
def test_fine_tuning_takes_objects_alone(what: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(what))} must be"):
        gaprune.finetune(tmp_path, **what)


anything = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.sampled_from([object(), int, len, Ellipsis, nn.Linear, ImageData, TENSORS, torch.zeros(2), Path, range(3)]),
)


@settings(max_examples=60, deadline=None)
@given(wrong=anything, by_name=st.booleans())
def test_nothing_else_passes(wrong: Any, by_name: bool) -> None:
    for model, data in ((wrong, "digits"), (LINEAR, wrong)):
        if wrong is None and not by_name:
            continue
        with pytest.raises(GapruneError) as told:
            check_kinds(model, data if by_name or data is wrong else None, by_name=by_name)
        assert len(str(told.value).splitlines()) == 1
