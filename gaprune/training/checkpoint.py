"""The state of a training on disk: a numbered snapshot after each epoch, as every run keeps them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gaprune.errors import RunError
from gaprune.progress import Reporter
from gaprune.runs import State, latest_state, save_state
from gaprune.training.digest import digest_images
from gaprune.training.state import Course, EpochRecord, TrainingState

Arrays = dict[str, NDArray[Any]]


def describe(course: Course) -> dict[str, Any]:
    """What must be the same for a training to go on: the recipe, the images, their normalisation and the lesson."""
    lesson = course.lesson.description()
    return {
        "recipe": course.recipe.record(),
        "train": digest_images(course.train),
        "validate": digest_images(course.validate),
        "mean": list(course.mean),
        "std": list(course.std),
        "flip": course.flip,
        **({"lesson": lesson} if lesson else {}),
    }


def save(directory: Path, state: TrainingState, description: dict[str, Any], *, finished: bool) -> None:
    """Write the state after a whole epoch. A finished training keeps only its averaged weights.

    Raises:
        RunError: the directory cannot be written; the epochs saved before stay.
    """
    arrays = _prefixed("averaged", state.averaged)
    if not finished:
        arrays |= _prefixed("model", state.model) | _momentum(state)
    meta = {
        "course": description,
        "finished": finished,
        "step": state.step,
        "threads": torch.get_num_threads(),
        "epochs": [dataclasses.asdict(record) for record in state.records],
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_state(directory, len(state.records), arrays, meta)
    except OSError as error:
        raise RunError(f"cannot save the training in {directory}: {error.strerror or error}") from error


def restore(directory: Path, state: TrainingState, description: dict[str, Any], reporter: Reporter) -> bool:
    """Bring ``state`` to the newest undamaged epoch of a directory, if any. True when it was the last.

    Raises:
        RunError: the directory holds another training.
    """
    found, damages = latest_state(directory)
    for line in damages:
        reporter.say(line)
    if found is None:
        return False
    _check_course(directory, found.meta["course"], description)
    finished = bool(found.meta["finished"])
    try:
        _load(state, found, finished)
    except (KeyError, RuntimeError) as error:
        raise RunError(f"{directory} holds the training of another network: choose another directory") from error
    state.step = found.meta["step"]
    state.records[:] = [EpochRecord(**record) for record in found.meta["epochs"]]
    return finished


def saved_epochs(directory: Path) -> int:
    """Number of the newest epoch in a directory, 0 when there is none; it may yet prove damaged."""
    return max((int(path.stem) for path in directory.glob("[0-9]*.json")), default=0)


def _check_course(directory: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if found == wanted:
        return
    old, new = found["recipe"], wanted["recipe"]
    changes = [f"{name} {old.get(name)}, now {value}" for name, value in new.items() if old.get(name) != value]
    if found.get("lesson") != wanted.get("lesson"):
        changes.append("another teacher or lesson")
    reason = "; ".join(changes) or "other images or another normalisation"
    raise RunError(f"{directory} holds another training ({reason}): choose another directory")


def _prefixed(prefix: str, model: nn.Module) -> Arrays:
    return {f"{prefix}.{name}": _array(tensor) for name, tensor in model.state_dict().items()}


def _momentum(state: TrainingState) -> Arrays:
    return {
        f"momentum.{name}": _array(state.optimizer.state[parameter]["momentum_buffer"])
        for name, parameter in state.model.named_parameters()
        if parameter in state.optimizer.state
    }


def _load(state: TrainingState, found: State, finished: bool) -> None:
    _load_model(state.averaged, "averaged", found.arrays)
    if finished:
        return
    _load_model(state.model, "model", found.arrays)
    for name, parameter in state.model.named_parameters():
        if f"momentum.{name}" in found.arrays:
            buffer = torch.empty_like(parameter, requires_grad=False)
            buffer.copy_(_tensor(found.arrays[f"momentum.{name}"]))
            state.optimizer.state[parameter]["momentum_buffer"] = buffer


def _load_model(model: nn.Module, prefix: str, arrays: Arrays) -> None:
    model.load_state_dict({name: _tensor(arrays[f"{prefix}.{name}"]) for name in model.state_dict()})


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
