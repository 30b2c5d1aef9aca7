"""The trained network that a search begins with: a checkpoint, a shipped or cached one, or trained now."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn

from gaprune.data import ImageData, ImageSet
from gaprune.errors import CheckpointError, ModelError, RunError
from gaprune.models import ShippedWeights, build, load_weights, read_weights, shipped_weights
from gaprune.progress import SILENT, Reporter, duration
from gaprune.runs.files import atomic_write
from gaprune.runs.lock import DirectoryLock
from gaprune.training import EpochRecord, Recipe, bfloat16_pays, estimate_seconds, fit
from gaprune.training.checkpoint import saved_epochs
from gaprune.training.digest import digest_images, digest_json, digest_tensors

FORMAT = "gaprune-baseline-1"
WEIGHTS = "model.safetensors"
_STATES = "training"


@dataclass(frozen=True)
class Baseline:
    """A trained network, and what it must be used with.

    Attributes:
        model: in eval mode, float32, on the device asked for.
        mean: per channel mean of the 0..255 pixels that it is fed with.
        std: per channel standard deviation of the same.
        source: where the weights come from, in one sentence.
        saw_all_training_images: whether a search set held out of the training images may be known to it.
        identity: JSON values that name it in manifests; equal for equal weights and normalisation.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    saw_all_training_images: bool
    identity: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """Which network is wanted, and for which images.

    Attributes:
        model_name: as ``gaprune.models.build`` knows it.
        stem: first layers of the network.
        data: the data set, for its name, classes and normalisation.
        train: the images to train on, if need be: never the search set or the test images.
        validate: held-out images, which show how the training goes; nothing is chosen by them.
        device: where the network is wanted.
    """

    model_name: str
    stem: str
    data: ImageData
    train: ImageSet
    validate: ImageSet
    device: torch.device


def resolve_baseline(
    model_name: str,
    stem: str,
    data: ImageData,
    *,
    train: ImageSet,
    validate: ImageSet,
    cache_dir: Path,
    device: torch.device,
    checkpoint: Path | None = None,
    recipe: Recipe | None = None,
    reporter: Reporter = SILENT,
) -> Baseline:
    """The trained network for ``data``: the checkpoint if given, else shipped, else cached, else trained now.

    Shipped weights that were trained on part of the training images are passed over where that part is not
    ``train``: the search set might not be unseen by them.

    Args:
        model_name: as ``gaprune.models.build`` knows it.
        stem: first layers of the network.
        data: the data set, for its name, classes and normalisation.
        train: the images to train on, if need be: never the search set or the test images.
        validate: held-out images, which show how the training goes; nothing is chosen by them.
        cache_dir: trained baselines are kept in its folder ``baselines``.
        device: where the network is wanted.
        checkpoint: file of weights that goes before everything else.
        recipe: how to train; ``default_recipe`` by default.
        reporter: told how long a training will take, and how it goes.

    Raises:
        CheckpointError: the checkpoint does not fit the network or the data.
        ModelError: the network cannot be built or cannot take these images.
        TrainingError: the training diverged.
        RunError: another process is training this baseline, or the cache cannot be written.
    """
    subject = Subject(model_name, stem, data, train, validate, device)
    if checkpoint is not None:
        return load_baseline(subject, checkpoint)
    shipped = shipped_weights(model_name, stem, data.classes, data.image_shape)
    if shipped is not None and _fits_split(shipped, train):
        return _load_shipped(subject, shipped)
    recipe = default_recipe(model_name, data, device) if recipe is None else recipe
    path = train_baseline(subject, recipe, baseline_directory(cache_dir, subject, recipe), reporter)
    return load_baseline(subject, path)


def default_recipe(model_name: str, data: ImageData, device: torch.device, *, seed: int = 0) -> Recipe:
    """The recipe for a network and a data set.

    The digits take 8 epochs, which is enough for them. Other data gets about 300,000 images in all, in 30 to
    100 epochs. The peak rate grows with the batch, from 0.05 for 32 images to 0.4 for 512. All networks that
    ``gaprune.models`` knows by name train well with the same numbers.
    """
    height, width = data.image_shape[1:]
    count = len(data.train)
    if data.name == "digits":
        recipe = Recipe(epochs=8, batch_size=64, lr=0.05, ema_decay=0.98)
    elif count < 10_000:
        recipe = Recipe(batch_size=32, lr=0.05, ema_decay=0.99)
    elif device.type == "cuda":
        recipe = Recipe(batch_size=512, lr=0.4, ema_decay=0.99)
    else:
        recipe = Recipe(batch_size=128, lr=0.1, ema_decay=0.998)
    if data.name != "digits":
        recipe = dataclasses.replace(recipe, epochs=min(100, max(30, round(300_000 / count))))
    pad = min(4, height // 8, width // 8)
    return dataclasses.replace(recipe, pad=pad, seed=seed, amp=bfloat16_pays(device))


def held_out_size(data: ImageData) -> int:
    """How many training images are held out for the search set when nobody says: a fifth, at most 5,000."""
    return max(1, min(5_000, round(len(data.train) * 0.2)))


def baseline_directory(cache_dir: Path, subject: Subject, recipe: Recipe) -> Path:
    """Where the cache keeps the baseline of this network, data, training images and recipe."""
    parts = (subject.model_name, subject.stem, subject.data.name)
    name = "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts)
    return cache_dir / "baselines" / f"{name}-{_fingerprint(subject, recipe)[:12]}"


def train_baseline(subject: Subject, recipe: Recipe, directory: Path, reporter: Reporter = SILENT) -> Path:
    """Train a baseline in ``directory``, or go on with one there, or find it finished.

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
    model = _new_network(subject, recipe.seed)  # before anything is written: it may prove unusable
    with _owned(directory):
        if not _is_finished(path, fingerprint, SILENT):
            _train(subject, model.to(subject.device), recipe, directory, reporter)
    return path


def load_baseline(subject: Subject, path: Path) -> Baseline:
    """A baseline from a file of weights.

    Files that ``train_baseline`` wrote bring their own normalisation, and say which images they were trained
    on. Any other is fed with the data's normalisation and taken to have seen all training images.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit the network or the data.
    """
    model = _new_network(subject, seed=0)
    metadata = load_weights(model, path)
    mean, std = subject.data.mean, subject.data.std
    if metadata.get("format") != FORMAT:
        source = f"{subject.model_name} from {path}, taken to have seen all training images"
        return _baseline(subject, model, mean, std, source, saw_all=True)
    try:
        classes = json.loads(metadata["classes"])
        mean, std = tuple(json.loads(metadata["mean"])), tuple(json.loads(metadata["std"]))
        trained_on, accuracy = metadata["train_sha256"], float(metadata["accuracy"])
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has damaged metadata: {error!r}") from error
    if classes != list(subject.data.classes):
        raise CheckpointError(
            f"{path} was trained on {metadata.get('data')} with classes {_few(classes)}; "
            f"{subject.data.name} has {_few(subject.data.classes)}"
        )
    unseen = trained_on == digest_images(subject.train)
    source = (
        f"{subject.model_name} trained on {metadata.get('data')}, top-1 {accuracy:.4f} on held-out images, "
        f"from {path}" + ("" if unseen else "; its training images were others than this split's")
    )
    return _baseline(subject, model, mean, std, source, saw_all=not unseen)


def _fits_split(shipped: ShippedWeights, train: ImageSet) -> bool:
    if shipped.saw_all_training_images:
        return True
    trained_on = read_weights(shipped.path)[1].get("train_sha256")
    return trained_on is None or trained_on == digest_images(train)


def _load_shipped(subject: Subject, shipped: ShippedWeights) -> Baseline:
    model = _new_network(subject, seed=0)
    load_weights(model, shipped.path)
    source = f"shipped with gaprune: {shipped.description}"
    return _baseline(
        subject, model, shipped.mean, shipped.std, source, saw_all=shipped.saw_all_training_images
    )


def _baseline(
    subject: Subject,
    model: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    source: str,
    *,
    saw_all: bool,
) -> Baseline:
    identity = {
        "model": subject.model_name,
        "stem": subject.stem,
        "weights_sha256": digest_tensors(model.state_dict()),
        "mean": list(mean),
        "std": list(std),
    }
    return Baseline(model.eval().to(subject.device), mean, std, source, saw_all, identity)


def _new_network(subject: Subject, seed: int) -> nn.Module:
    """An untrained network on the CPU, drawn from ``seed``, that has shown to take the data's images."""
    shape, classes = subject.data.image_shape, len(subject.data.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(subject.model_name, classes, stem=subject.stem).float()
    try:
        with torch.no_grad():
            logits = model.eval()(torch.zeros(1, *shape))
    except Exception as error:  # a stranger's network may raise anything
        size = "x".join(map(str, shape))
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{subject.model_name} cannot take images of {size}: {reason}") from error
    if getattr(logits, "shape", None) != (1, classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"{subject.model_name} gives {found} for one image, expected logits (1, {classes})")
    return model


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
            "recipe": dataclasses.asdict(recipe),
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


def _train(subject: Subject, model: nn.Module, recipe: Recipe, directory: Path, reporter: Reporter) -> None:
    """Train, write the weights, and only then drop the states that a resume would have needed."""
    states = directory / _STATES
    reporter.say(_announcement(subject, model, recipe, saved_epochs(states)))
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
    shutil.rmtree(states, ignore_errors=True)


def _announcement(subject: Subject, model: nn.Module, recipe: Recipe, done: int) -> str:
    left = dataclasses.replace(recipe, epochs=max(recipe.epochs - done, 1))
    seconds = estimate_seconds(
        model,
        subject.data.image_shape,
        left,
        len(subject.train),
        validation_images=len(subject.validate),
    )
    verb = f"going on after epoch {done} with" if done else "training"
    return (
        f"{verb} {subject.model_name} on {subject.data.name} ({len(subject.train):,} images, {recipe.epochs} "
        f"epochs): about {duration(seconds)} on this machine"
    )


def _metadata(subject: Subject, recipe: Recipe, records: list[EpochRecord]) -> dict[str, str]:
    return {
        "format": FORMAT,
        "model": subject.model_name,
        "stem": subject.stem,
        "data": subject.data.name,
        "classes": json.dumps(subject.data.classes),
        "mean": json.dumps(subject.data.mean),
        "std": json.dumps(subject.data.std),
        "accuracy": repr(records[-1].accuracy),
        "held_out_images": str(len(subject.validate)),
        "train_sha256": digest_images(subject.train),
        "recipe": json.dumps(dataclasses.asdict(recipe)),
        "epochs": json.dumps([dataclasses.asdict(record) for record in records]),
        "fingerprint": _fingerprint(subject, recipe),
    }


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
