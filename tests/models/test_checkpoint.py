from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from gaprune.errors import CheckpointError
from gaprune.models import load_weights, read_weights


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(2, 4, 3), norm=nn.BatchNorm2d(4), flat=nn.Flatten(), head=nn.Linear(16, classes))
    )


def write(path: Path, weights: dict[str, Tensor]) -> Path:
    save_file(weights, path) if path.suffix == ".safetensors" else torch.save(weights, path)
    return path


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    weights = network().state_dict() | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in weights.items() if value is not None}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_saving_and_loading_is_the_identity_up_to_precision(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    source, target = network().to(dtype), network()
    load_weights(target, write(tmp_path / name, source.state_dict()))
    for key, tensor in target.state_dict().items():
        assert tensor.dtype == (torch.int64 if "tracked" in key else torch.float32)
        assert torch.equal(tensor, source.state_dict()[key].to(tensor.dtype))


def test_metadata_come_with_safetensors_only(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(network().state_dict(), path, metadata={"epochs": "3"})
    assert load_weights(network(), path) == {"epochs": "3"}
    assert read_weights(write(tmp_path / "w.pt", network().state_dict()))[1] == {}
    assert read_weights(write(tmp_path / "x.safetensors", network().state_dict()))[1] == {}


def test_reading_keeps_what_is_stored(tmp_path: Path) -> None:
    weights = {"a": torch.randn(2, 3).half(), "b": torch.arange(3)}
    read, _ = read_weights(write(tmp_path / "w.safetensors", weights))
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items())


def test_the_kind_of_file_is_told_by_content(tmp_path: Path) -> None:
    safetensors = write(tmp_path / "w.safetensors", network().state_dict())
    assert load_weights(network(), safetensors.rename(tmp_path / "w.bin")) == {}


def test_missing_batch_counters_do_not_matter(tmp_path: Path) -> None:
    weights = changed(norm__num_batches_tracked=None)
    target = network()
    load_weights(target, write(tmp_path / "w.pt", weights))
    assert torch.equal(target.state_dict()["conv.weight"], weights["conv.weight"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            changed(conv__bias=None, norm__bias=None),
            "does not fit this network: it lacks conv.bias, norm.bias$",
        ),
        (changed(extra=torch.ones(1)), "it has unknown extra"),
        (changed(conv__weight=torch.ones(4, 2, 5, 5)), "conv.weight is 4x2x5x5, expected 4x2x3x3"),
        (network(100).state_dict(), "was trained for 100 classes, this network has 3 .head.weight is 100x16"),
        (changed(conv__weight=torch.full((4, 2, 3, 3), torch.nan)), "conv.weight holds NaN or infinity"),
        (
            {f"layer{n}": torch.ones(1) for n in range(9)},
            "it lacks conv.bias, conv.weight, head.bias and 5 more",
        ),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_weights_that_do_not_fit_are_named_and_change_nothing(
    tmp_path: Path, name: str, weights: dict[str, Tensor], message: str
) -> None:
    target = network()
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(target, write(tmp_path / name, weights))
    assert str(tmp_path / name) in str(caught.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in target.state_dict().items())


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    path, trap = tmp_path / "w.pt", tmp_path / "ran"
    if zipped:
        torch.save({"a": Trap(trap)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Trap(trap)}))
    with pytest.raises(CheckpointError, match="holds more than tensors, which is not loaded"):
        read_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": 1.5}, "epoch": 3}, "entry 'state_dict' is dict, expected a tensor"),
        ({"optimizer": {"a": torch.ones(1)}, "epoch": 3}, "entry 'optimizer' is dict, expected a tensor"),
        ([torch.ones(1)], "holds list, expected a state dict"),
        ({}, "holds dict, expected a state dict"),
        ({1: torch.ones(1)}, "entry 1 is Tensor"),
    ],
)
def test_anything_but_a_plain_state_dict_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "w.pt")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="no such checkpoint file"):
            read_weights(path)


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1), zipped=st.booleans())
def test_a_file_that_was_cut_short_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, share: float, zipped: bool
) -> None:
    path = tmp_path_factory.mktemp("cut") / ("w.pt" if zipped else "w.safetensors")
    write(path, {"a": torch.arange(6.0), "b": torch.ones(2, 2)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * (len(whole) - 1))])
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x80\x02", b"\x05\0\0\0\0\0\0\0{oops", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_foreign_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is "):
        read_weights(tmp_path / name)
