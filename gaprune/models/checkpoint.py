"""Trained weights from files: read without running any code of theirs, and checked before they are used."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gaprune.errors import CheckpointError

_NAMED = 3


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file and its metadata.

    Args:
        path: a safetensors file, or a state dict saved with ``torch.save``; told apart by content.

    Returns:
        Tensors by name, on the CPU, as stored; and the safetensors metadata, empty for a state dict.

    Raises:
        CheckpointError: there is no such file, or it is damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}")
    try:
        return _read_safetensors(path) if _is_safetensors(path) else (_read_state_dict(path), {})
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def load_weights(model: nn.Module, path: Path) -> dict[str, str]:
    """Fill a network with the weights of a file; the network's own precision and device stay.

    Nothing is changed unless everything fits: the same names, the same shapes, finite numbers. Only
    batch norm's ``num_batches_tracked``, which no result depends on, may be missing.

    Args:
        model: the network to fill.
        path: as for ``read_weights``.

    Returns:
        The file's metadata.

    Raises:
        CheckpointError: the file cannot be read or does not fit, naming what differs.
    """
    tensors, metadata = read_weights(path)
    expected = model.state_dict()
    counters = {name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")}
    tensors = counters | tensors
    _check_classes(path, tensors, expected)
    for what, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has unknown", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{path} does not fit this network: it {what} {_list(names)}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path} does not fit this network: {name} is {_shape(tensor)}, expected {_shape(expected[name])}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path} is no trained network: {name} holds NaN or infinity")
    model.load_state_dict(tensors)
    return metadata


def _is_safetensors(path: Path) -> bool:
    """Safetensors begin with the header's length in 8 bytes, then JSON."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole safetensors file: {error}") from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign files, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors, which is not loaded because it could run code: "
            "save model.state_dict() or safetensors"
        ) from error
    except OSError:
        raise
    except Exception as error:  # damaged files make torch raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is damaged or no checkpoint: {reason}") from error
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds {type(content).__name__}, expected a state dict of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} is no plain state dict: its entry {name!r} is {type(value).__name__}, expected a "
                "tensor; save model.state_dict()"
            )
    return dict(content)


def _check_classes(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Name a wrong number of classes as such: the last weight matrix differs in its first axis only."""
    matrices = [name for name, tensor in expected.items() if tensor.ndim == 2]
    if not matrices or (found := tensors.get(matrices[-1])) is None:
        return
    head = expected[matrices[-1]]
    if found.ndim == 2 and found.shape[1] == head.shape[1] and found.shape[0] != head.shape[0]:
        raise CheckpointError(
            f"{path} was trained for {found.shape[0]} classes, this network has {head.shape[0]} "
            f"({matrices[-1]} is {_shape(found)}, expected {_shape(head)})"
        )


def _list(names: set[str]) -> str:
    shown = sorted(names)[:_NAMED]
    return ", ".join(shown) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"
