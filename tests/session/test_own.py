"""A caller's own network: every kind of thing that may be given as one, and what is said of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from listener import Listener
from tiny_factory import Residual, small_residual
from torch import nn

import gaprune
from gaprune.data import ImageData
from gaprune.device import neutral
from gaprune.errors import CheckpointError, GapruneError, ModelError
from gaprune.session.own import Own, check_kinds, opened

CPU = torch.device("cpu")
SMALL = {"search_size": 60, "calibration_size": 45, "population": 4, "generations": 1, "device": "cpu", "threads": 1}


def exported() -> Any:
    return torch.export.export(Residual(3).eval(), (torch.zeros(2, 3, 8, 8),))


@given(
    st.recursive(
        st.one_of(st.integers(), st.floats(), st.binary(max_size=3), st.booleans(), st.builds(exported)),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=4,
    )
)
@settings(deadline=None, max_examples=30)
def test_whatever_is_given_as_a_model_is_one_line(model: Any) -> None:
    for by_name in (True, False):
        with pytest.raises(GapruneError) as caught:
            check_kinds(model, None, by_name=by_name)
        assert len(str(caught.value).splitlines()) == 1


def test_an_exported_network_is_told_so() -> None:
    with pytest.raises(GapruneError, match="got one that was exported: give the network that it was made from"):
        check_kinds(exported(), None, by_name=True)


def test_loading_knows_the_kind_of_a_model_too(trained: nn.Module, square_data: ImageData, tmp_path: Path) -> None:
    found = gaprune.search(trained, square_data, output=tmp_path / "run", reporter=Listener(), **SMALL)
    member = found.path / found.rows[0].path
    words = "the torch.nn.Module that was searched, or one like it, got the class Residual"
    with pytest.raises(ModelError, match=f"must be {words}"):
        gaprune.load(member, model=Residual)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="does not fit the network that it was cut from: tensors differ"):
        gaprune.load(member, model="resnet18")


def test_what_was_done_to_a_network_is_said(square_data: ImageData) -> None:
    listener = Listener()
    given = torch.compile(small_residual(3).half())
    network = opened(given, square_data, CPU, listener)  # type: ignore[arg-type]
    assert listener.lines == ["Residual is compiled: taken out", "Residual is in float16: converted to float32"]
    assert type(network) is Residual
    assert Own(model=given).model_name == "Residual"  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [1, 2, 5, 1000])
def test_another_number_of_classes_is_told_before_anything_else(
    classes: int, square_data: ImageData, tmp_path: Path
) -> None:
    listener = Listener()
    message = f"squares has 3 classes, and the network {classes} outputs: give its last layer as many outputs"
    with pytest.raises(GapruneError, match=message):
        gaprune.search(small_residual(classes), square_data, output=tmp_path / "run", reporter=listener, **SMALL)
    assert listener.lines == []
    assert not (tmp_path / "run").exists()


def wrapped(model: nn.Module) -> nn.Module:
    return nn.DataParallel(model)


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": torch.compile,
    "parallel": wrapped,
    "double": lambda model: model.double(),
    "channels last": lambda model: model.to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_search_ends_alike_however_the_network_is_wrapped(
    way: str, trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    plain = gaprune.search(trained, square_data, output=tmp_path / "plain", reporter=Listener(), **SMALL)
    given = WAYS[way](trained)
    found = gaprune.search(given, square_data, output=tmp_path / "other", reporter=Listener(), **SMALL)
    assert [row.key for row in found.rows] == [row.key for row in plain.rows]
    assert found.load(0)(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    again = gaprune.search(given, square_data, resume=found.path, reporter=Listener())
    assert [row.key for row in again.rows] == [row.key for row in plain.rows]


@contextlib.contextmanager
def another_default_type() -> Any:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CONTEXTS: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "another device": lambda: torch.device("meta"),
    "another type": another_default_type,
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_callers_contexts_change_nothing(
    context: str, trained: nn.Module, square_data: ImageData, tmp_path: Path
) -> None:
    plain = gaprune.search(trained, square_data, output=tmp_path / "plain", reporter=Listener(), **SMALL)
    with CONTEXTS[context]():
        found = gaprune.search(trained, square_data, output=tmp_path / "other", reporter=Listener(), **SMALL)
        loaded = found.load(0)
        tuned = gaprune.finetune(
            found.path, model=trained, data=square_data, pick="0", epochs=1, device="cpu", reporter=Listener()
        )
    assert [(row.key, row.search_accuracy) for row in found.rows] == [
        (row.key, row.search_accuracy) for row in plain.rows
    ]
    assert all(p.dtype == torch.float32 and not p.is_meta for p in loaded.parameters())
    assert tuned.rows


def test_contexts_are_the_callers_again_afterwards() -> None:
    with another_default_type(), torch.device("meta"), torch.autocast("cpu"), torch.inference_mode():
        with neutral():
            assert torch.get_default_dtype() is torch.float32
            assert torch.zeros(1).device.type == "cpu"
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.is_inference_mode_enabled()
            assert torch.is_grad_enabled()
        assert torch.get_default_dtype() is torch.float64
        assert torch.zeros(1).is_meta
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_inference_mode_enabled()


class Writes(nn.Module):
    """Writes to its input before it looks at it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(images.mul_(0.5))
        return out


def test_a_network_that_writes_to_its_input_is_searched_and_trained_like_any_other(
    square_data: ImageData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    listener, network = Listener(), Writes(small_residual(3))
    found = gaprune.search(network, square_data, output=tmp_path / "run", reporter=listener, **SMALL)
    assert "Writes changes its input in place: it is given a copy each time" in listener.lines
    tuned = gaprune.finetune(
        found.path, model=network, data=square_data, pick="0", epochs=1, device="cpu", reporter=Listener()
    )
    assert tuned.rows


def test_how_to_resume_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {"objects": {"model": True, "data": True, "objectives": ["lean"]}}
    with pytest.raises(GapruneError, match=r"search\(model, data, objectives=objectives, resume="):
        Own().check_resume(manifest, tmp_path)
    manifest = {"objects": {"objectives": ["lean"]}, "options": {"model": "vgg16", "data": "digits", "data_dir": None}}
    with pytest.raises(GapruneError, match=r"search\('vgg16', 'digits', objectives=objectives, resume="):
        Own().check_resume(manifest, tmp_path)


def test_who_only_reads_members_needs_no_objectives(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {"objects": {"objectives": ["lean"]}}
    Own().check_resume(manifest, tmp_path, searching=False)
    with pytest.raises(GapruneError, match="was given its model as objects: "):
        Own().check_resume({"objects": {"model": True, "objectives": ["lean"]}}, tmp_path, searching=False)
