"""Making a baseline: a directory in which one is trained, and the file of weights that comes of it."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save as save_tensors
from torch import nn

from gaprune.errors import CheckpointError, RunError
from gaprune.models import read_weights
from gaprune.progress import SILENT, Reporter, duration
from gaprune.runs import DirectoryLock, atomic_write
from gaprune.training.checkpoint import saved_epochs
from gaprune.training.digest import digest_images, digest_json
from gaprune.training.estimate import estimate_seconds
from gaprune.training.loop import fit
from gaprune.training.recipe import Recipe
from gaprune.training.state import EpochRecord
from gaprune.training.subject import Subject, new_network

FORMAT = "gaprune-baseline-1"
WEIGHTS = "model.safetensors"
BASELINES = "baselines"
"""Folder of the cache: by network, data and recipe the weights that were trained."""

LONG = 600.0
"""Seconds of training that nobody should be surprised by."""

_STATES = "training-"
"""Folders of unfinished trainings begin so; what they are watched on follows, which the baseline does not depend on."""


def baseline_directory(cache_dir: Path, subject: Subject, recipe: Recipe) -> Path:
    """Where the cache keeps the baseline of this network, data, training images and recipe."""
    parts = (subject.model_name, subject.stem, subject.data.name)
    name = "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts)
    return cache_dir / BASELINES / f"{name}-{_fingerprint(subject, recipe)[:12]}"


def train_baseline(
    subject: Subject, recipe: Recipe, directory: Path, reporter: Reporter = SILENT, *, advice: str = ""
) -> Path:
    """Train a baseline in ``directory``, or go on with one there, or find it finished.

    Args:
        subject: the network and its images.
        recipe: how it is trained.
        directory: where to.
        reporter: told how long it will take, before it begins, and how it goes.
        advice: said before a training of more than ``LONG`` seconds: how to do without it.

    Returns:
        The path of its weights: safetensors, with metadata that says what they must be used with.

    Raises:
        RunError: the directory is in use, holds another baseline, or cannot be written.
        ModelError: the network cannot be built or cannot take these images.
        TrainingError: the training diverged.
    """
    path, fingerprint = directory / WEIGHTS, _fingerprint(subject, recipe)
    if _is_finished(path, fingerprint, reporter):
        return path
    model = new_network(subject, recipe.seed)  # before anything is written: it may prove unusable
    with _owned(directory):
        if not _is_finished(path, fingerprint, SILENT):
            _train(subject, model.to(subject.device), recipe, directory, reporter, advice)
    return path


def _fingerprint(subject: Subject, recipe: Recipe) -> str:
    return digest_json(
        {
            "model": subject.model_name,
            "stem": subject.stem,
            "classes": list(subject.data.classes),
            "mean": list(subject.data.mean),
            "std": list(subject.data.std),
            "flip": subject.data.flip,
            "train": digest_images(subject.train),
            "recipe": recipe.record(),
        }
    )


@contextmanager
def _owned(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot create {directory}: {error.strerror or error}") from error
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _is_finished(path: Path, fingerprint: str, reporter: Reporter) -> bool:
    if not path.exists():
        return False
    try:
        found = read_weights(path)[1].get("fingerprint")
    except CheckpointError as error:
        reporter.say(f"{error}; it is trained again")
        return False
    if found != fingerprint:
        raise RunError(f"{path} is of another network, data or recipe: choose another directory")
    return True


def _train(
    subject: Subject, model: nn.Module, recipe: Recipe, directory: Path, reporter: Reporter, advice: str
) -> None:
    """Train, write the weights, and only then drop the states that a resume would have needed."""
    states = directory / f"{_STATES}{digest_images(subject.validate)[:12]}"
    seconds, words = _announcement(subject, model, recipe, saved_epochs(states))
    reporter.say(words)
    if advice and seconds > LONG:
        reporter.say(advice)
    records = fit(
        model,
        subject.train.to(subject.device),
        subject.validate.to(subject.device),
        mean=subject.data.mean,
        std=subject.data.std,
        flip=subject.data.flip,
        recipe=recipe,
        directory=states,
        reporter=reporter,
    )
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    try:
        atomic_write(directory / WEIGHTS, save_tensors(tensors, metadata=_metadata(subject, recipe, records)))
    except OSError as error:
        raise RunError(f"cannot write {directory / WEIGHTS}: {error.strerror or error}") from error
    for left in directory.glob(f"{_STATES}*"):
        shutil.rmtree(left, ignore_errors=True)


def _announcement(subject: Subject, model: nn.Module, recipe: Recipe, done: int) -> tuple[float, str]:
    """How many seconds the training will take, and the line that says so."""
    left = dataclasses.replace(recipe, epochs=max(recipe.epochs - done, 1))
    seconds = estimate_seconds(
        model,
        subject.data.image_shape,
        left,
        len(subject.train),
        validation_images=len(subject.validate),
    )
    verb = f"going on after epoch {done} with" if done else "training"
    return seconds, (
        f"{verb} {subject.model_name} on {subject.data.name} ({len(subject.train):,} images, {recipe.epochs} "
        f"epochs): about {duration(seconds)} on this machine"
    )


def described(
    subject: Subject, mean: tuple[float, ...], std: tuple[float, ...], accuracy: float, train_sha256: str
) -> dict[str, str]:
    """The metadata of a file of weights that a later search understands: what they are and must be used with.

    Args:
        subject: whose network it is, and for which images.
        mean: per channel mean of the 0..255 pixels.
        std: per channel standard deviation of the same.
        accuracy: top-1 on ``subject.validate``.
        train_sha256: of the images that it was trained on; empty where they are not known.
    """
    return {
        "format": FORMAT,
        "model": subject.model_name,
        "stem": subject.stem,
        "data": subject.data.name,
        "classes": json.dumps(subject.data.classes),
        "mean": json.dumps(mean),
        "std": json.dumps(std),
        "accuracy": repr(accuracy),
        "held_out_images": str(len(subject.validate)),
        "train_sha256": train_sha256,
    }


def _metadata(subject: Subject, recipe: Recipe, records: list[EpochRecord]) -> dict[str, str]:
    data, accuracy = subject.data, records[-1].accuracy
    return {
        **described(subject, data.mean, data.std, accuracy, digest_images(subject.train)),
        "recipe": json.dumps(recipe.record()),
        "epochs": json.dumps([dataclasses.asdict(record) for record in records]),
        "fingerprint": _fingerprint(subject, recipe),
    }
