"""No argument of another kind becomes a default: it is refused in one line, before anything is read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
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
from gaprune.options import CompareOptions, ExportOptions, FinetuneOptions, SearchOptions
from gaprune.options.fields import Options, entries
from gaprune.runs import FrontRow
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


@pytest.mark.parametrize("what", [{"model": 3}, {"data": "digits"}, {"model": nn.Linear}, {"data": TENSORS}])
def test_fine_tuning_takes_objects_and_the_name_of_a_network(what: dict[str, Any], tmp_path: Path) -> None:
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


PIXELS, LABELS = np.zeros((8, 8, 8, 3), np.uint8), [0, 1] * 4
PAIR = (PIXELS, LABELS)
ROW = FrontRow(
    index=0,
    key="0" * 32,
    objectives={},
    search_accuracy=0.5,
    test_accuracy=0.5,
    flops=1,
    flops_share=0.5,
    params=1,
    params_share=0.5,
    size_mb=1.0,
)
NEVER: dict[str, Any] = {"population": 1, "generations": 0}
"""Of a search, so that nothing begins whatever else is right."""

CALLS: dict[str, tuple[dict[str, Any], type[Options] | None]] = {
    "search": ({"model": LINEAR, "data": gaprune.from_arrays("own", PAIR, PAIR), **NEVER}, SearchOptions),
    "finetune": ({"run": "nowhere"}, FinetuneOptions),
    "compare": ({"model": LINEAR, "data": "nowhere", "methods": ["shrink"], "batch": 1, "epochs": 0}, CompareOptions),
    "export": ({"run": "nowhere"}, ExportOptions),
    "Run": ({"path": "nowhere"}, None),
    "from_arrays": ({"name": "own", "train": PAIR, "test": PAIR}, None),
    "image_data": ({"train": PAIR, "test": PAIR}, None),
    "load_data": ({"data": "digits"}, None),
    "load": ({"path": "nowhere"}, None),
    "pick": ({"rows": [ROW], "rule": "knee"}, None),
    "Objective": ({"name": "own", "description": "mine", "value": len, "minimised": len}, None),
}
"""What each public function is called with, and the options that it takes as well."""


def arguments_of(name: str) -> list[str]:
    """Every argument that a public function can be given by name."""
    options = CALLS[name][1]
    kinds = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    parameters = inspect.signature(getattr(gaprune, name)).parameters.values()
    own = [parameter.name for parameter in parameters if parameter.kind not in kinds]
    return [*own, *(name for name in (() if options is None else entries(options)) if name not in own)]


def test_every_public_function_is_tried() -> None:
    classes = {"GapruneError", "ImageData", "SearchResult"}  # nobody calls these
    classes.add("Task")  # tried in tests/tasks
    assert set(CALLS) == set(gaprune.__all__) - classes


strange = st.one_of(
    anything,
    st.text(max_size=3),
    st.booleans(),
    st.sampled_from([-1, 0, [1], ["x"], (1, 2), set(), np.zeros(3), {"a": 1}, {1: 2}, print, Path("nowhere")]),
)


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder that holds nothing, where paths lead nowhere."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("nowhere"))
    yield
    os.chdir(before)


@pytest.mark.usefixtures("nowhere")
@settings(max_examples=250, deadline=None)
@given(call=st.sampled_from([(name, one) for name in CALLS for one in arguments_of(name)]), wrong=strange)
def test_any_argument_of_any_public_function_is_taken_or_refused_in_one_line(call: tuple[str, str], wrong: Any) -> None:
    name, argument = call
    try:
        getattr(gaprune, name)(**{**CALLS[name][0], argument: wrong})
    except GapruneError as error:
        line = str(error)
    else:
        assert name not in ("search", "finetune", "compare", "export", "load", "Run"), "nothing begins"
        return
    assert line
    assert "\n" not in line
