"""A compressed model on disk: what ships, and loads again without the data or the original's weights. No pickles.

A network of torch modules is ``network.json`` (what untrained network it is made from, and what was done to its
layers) and ``model.safetensors``; with ``sparse``, tensors full of zeros are stored as packed bits and the values
that are left. An ONNX model is its file. ``steps.json`` is a report, not part of what ships.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from gaprune.compress.factoring import factored, place, placed
from gaprune.compress.method import Step, Task, Work
from gaprune.compress.runners import ONNX_FILE, OnnxRunner, Runner, TorchRunner
from gaprune.compress.words import OURS
from gaprune.errors import CheckpointError, RunError
from gaprune.options import check_trusted
from gaprune.runs import (
    CHECKSUMS,
    atomic_write,
    check_folder,
    digest,
    json_bytes,
    read_json_object,
    seal_folder,
    write_json,
)
from gaprune.saved import SEALED, check_sealed, fill_structure, stored_tensors, structure

FORMAT = "gaprune-compressed-1"
NETWORK, WEIGHTS, STEPS = "network.json", "model.safetensors", "steps.json"
BUILDERS = {
    "images": "gaprune.compress.images:build_network",
    "text": "gaprune.text.networks:build_network",
}
"""Functions (base) -> untrained network, by the ``builder`` of a work's ``base``."""

BITS, VALUES, SHAPE = ".bits", ".values", ".shape"


def save_work(folder: Path, work: Work) -> None:
    """Write a work; the report comes last, so that a folder with one is whole.

    Raises:
        RunError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (STEPS, CHECKSUMS):
            (folder / name).unlink(missing_ok=True)
        if isinstance(work.runner, OnnxRunner):
            work.runner.save(folder)
        else:
            _save_network(folder, work)
        report = json_bytes(_report(work))
        seal_folder(folder, (NETWORK, WEIGHTS, ONNX_FILE), more={STEPS: digest(report)})
        atomic_write(folder / STEPS, report)
    except OSError as error:
        raise RunError(f"cannot write in {folder}: {error.strerror or error}") from error


def is_saved(folder: Path) -> bool:
    """Whether ``save_work`` finished there."""
    return (folder / STEPS).is_file()


def shipped_bytes(folder: Path) -> int:
    """Bytes of the files that must be shipped."""
    return sum((folder / name).stat().st_size for name in (NETWORK, WEIGHTS, ONNX_FILE) if (folder / name).exists())


def load_work(folder: Path, task: Task, named: Collection[str] = ()) -> Work:
    """A work again, for going on with.

    Args:
        folder: where ``save_work`` wrote it.
        task: of the original; a student's is made from it.
        named: networks that the user has named; modules are imported for no others.

    Raises:
        CheckpointError: the folder is damaged.
    """
    record = _json(folder / STEPS)
    try:
        base, steps = record["base"], [Step(**step) for step in record["steps"]]
        named = (*named, *task.named)
        _check_named(base, folder, named, trust=False)
        seen_by = task.student(base["student"]).task if "student" in base else task
        return Work(
            load_runner(folder, task.own, named), seen_by, base, record["params"], record["flops"], tuple(steps)
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / STEPS} is damaged: {error!r}") from error


def load_runner(
    folder: str | Path, model: nn.Module | None = None, named: Collection[str] = (), *, trust: bool = False
) -> Runner:
    """A saved model as it runs, from the shipped files alone.

    Args:
        folder: that a row's ``path`` names.
        model: the original network, where the comparison was given it as an object.
        named: networks that the user has named; modules are imported for no others.
        trust: import those that the folder names, too.

    Raises:
        ModelError: it was, and is not given.
        CheckpointError: the folder holds none, or it is damaged.
    """
    folder = Path(folder)
    _check_whole(folder)
    if (folder / ONNX_FILE).exists():
        return OnnxRunner((folder / ONNX_FILE).read_bytes())
    config = _json(folder / NETWORK)
    if config.get("format") != FORMAT or config.get("base", {}).get("builder") not in BUILDERS:
        raise CheckpointError(f"{folder / NETWORK} is no compressed network of this version ({FORMAT})")
    _check_named(config["base"], folder, named, trust=trust)
    try:
        tensors = _dense(load_file(folder / WEIGHTS))
        with torch.random.fork_rng(devices=[]):
            made = (config["base"],) if model is None else (config["base"], model)
            network = _builder(config["base"]["builder"])(*made)
            for path, ranks in config["factored"].items():
                place(network, path, factored(network.get_submodule(path), tuple(ranks)))
        fill_structure(network, config, tensors)
    except (OSError, SafetensorError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}") from error
    return TorchRunner(network, bool(config["sparse"]))


def _save_network(folder: Path, work: Work) -> None:
    runner = work.runner
    assert isinstance(runner, TorchRunner)
    config = {
        "format": FORMAT,
        "base": work.base,
        "factored": placed(runner.model),
        "sparse": runner.sparse,
        **structure(runner.model),
    }
    tensors = stored_tensors(runner.model)
    write_json(folder / NETWORK, config)
    atomic_write(folder / WEIGHTS, save(_sparse(tensors) if runner.sparse else tensors, metadata={"format": FORMAT}))


def _report(work: Work) -> dict[str, Any]:
    return {
        "base": work.base,
        "params": work.params,
        "flops": work.flops,
        SEALED: True,
        "steps": [dataclasses.asdict(step) for step in work.steps],
    }


def _sparse(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which a bit an entry and the values other than zero take less space, stored so."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kept = tensor.reshape(-1) != 0
        bits = torch.from_numpy(np.packbits(kept.numpy()))
        values = tensor.reshape(-1)[kept]
        if bits.numel() + values.nbytes >= tensor.nbytes:
            found[name] = tensor
            continue
        shape = torch.tensor(tensor.shape, dtype=torch.int64)
        found |= {name + BITS: bits, name + VALUES: values, name + SHAPE: shape}
    return found


def _dense(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith((BITS, VALUES, SHAPE))}
    for name in [name.removesuffix(BITS) for name in tensors if name.endswith(BITS)]:
        shape, values = tensors[name + SHAPE].tolist(), tensors[name + VALUES]
        size = int(np.prod(shape))
        kept = torch.from_numpy(np.unpackbits(tensors[name + BITS].numpy(), count=size).astype(np.bool_))
        flat = torch.zeros(size, dtype=values.dtype)
        flat[kept] = values
        found[name] = flat.view(shape)
    return found


def _check_whole(folder: Path) -> None:
    """Refuse a folder that is not as it was written; what ships alone, without checksums and report, is taken as is."""
    try:
        if (folder / STEPS).exists():
            check_sealed(folder, read_json_object(folder / STEPS))
        check_folder(folder, but=() if (folder / STEPS).exists() else (STEPS,))
    except (RunError, OSError, ValueError) as error:
        raise CheckpointError(str(error)) from error


def _check_named(base: dict[str, Any], folder: Path, named: Collection[str], *, trust: bool) -> None:
    """Refuse to import what the folder alone names."""
    student = str(base.get("student", ""))
    asked = [str(base.get("model", "")), *([] if student.partition(":")[0] == OURS else [student])]
    foreign = [name for name in asked if name not in named]
    check_trusted(foreign, folder, "model", trust=trust, error=CheckpointError)


def _builder(name: str) -> Any:
    module, function = BUILDERS[name].split(":")
    return getattr(importlib.import_module(module), function)


def _json(file: Path) -> dict[str, Any]:
    try:
        return read_json_object(file)
    except RunError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file.parent} holds no compressed model: {file.name}: {error}") from error
