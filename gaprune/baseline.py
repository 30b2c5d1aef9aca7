"""The trained network that a search begins with: a checkpoint, a shipped or cached one, or trained now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaprune.data import ImageData, ImageSet
from gaprune.errors import CheckpointError, RunError
from gaprune.models import (
    HeadRule,
    ShippedWeights,
    load_weights,
    of_model,
    of_zoo,
    read_weights,
    shipped_weights,
    stem_of,
    why_none_shipped,
)
from gaprune.progress import SILENT, Reporter
from gaprune.training import (
    BASELINES,
    WEIGHTS,
    GivenWeights,
    Recipe,
    Subject,
    baseline_directory,
    default_recipe,
    digest_images,
    digest_tensors,
    filled,
    given_weights,
    held_out_size,
    new_network,
    train_baseline,
    with_new_head,
)

__all__ = [
    "Baseline",
    "Subject",
    "baseline_directory",
    "default_recipe",
    "fits_split",
    "held_out_size",
    "load_baseline",
    "resolve_baseline",
    "train_baseline",
]


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
        own_normalisation: whether mean and std came with the weights, not from the data.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    saw_all_training_images: bool
    identity: dict[str, Any]
    own_normalisation: bool = False


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
    seed: int = 0,
    head: str | None = None,
    wanted: str | None = None,
    search_from: str = "train",
    reporter: Reporter = SILENT,
) -> Baseline:
    """The trained network for ``data``: the checkpoint if given, else shipped, else cached, else trained now.

    Shipped weights that were trained on part of the training images are passed over, with a line, where that part is
    not ``train`` and the search set is held out of the training images: it might not be unseen by them.

    Args:
        model_name: as ``gaprune.models.build`` knows it.
        stem: first layers of the network.
        data: the data set, for its name, classes and normalisation.
        train: the images to train on, if need be: never the search set or the test images.
        validate: held-out images, which show how the training goes; nothing is chosen by them.
        cache_dir: trained baselines are kept in its folder ``baselines``.
        device: where the network is wanted.
        checkpoint: file of weights that goes before everything else; ``pretrained`` for torchvision's or timm's own.
        head: what becomes of its head where that has other classes, as ``HeadRule`` reads it.
        recipe: how to train; ``default_recipe`` by default.
        seed: of that.
        wanted: ``weights_sha256`` of the network that a run was made with: it is found, whatever recipe made it, and
            none is trained in its place.
        search_from: ``train`` or ``test``, where the search set is held out.
        reporter: told how long a training will take, and how it goes.

    Raises:
        CheckpointError: the checkpoint does not fit the network or the data.
        ModelError: the network cannot be built or cannot take these images.
        TrainingError: the training diverged.
        RunError: another process is training this baseline, the cache cannot be written, or the network that is
            wanted is not there.
    """
    stem = stem_of(model_name, stem)
    subject = Subject(model_name, stem, data, train, validate, device)
    if checkpoint is not None:
        return load_baseline(subject, checkpoint, HeadRule.parse(head), cache_dir=cache_dir, reporter=reporter)
    shipped = shipped_weights(model_name, stem, data.classes, data.image_shape)
    if shipped is not None and (search_from != "train" or fits_split(shipped, train)):
        found = _load_shipped(subject, shipped)
        if wanted in (None, found.identity["weights_sha256"]):
            return found
    if wanted is not None:
        return load_baseline(subject, _cached(cache_dir, wanted))
    if recipe is None:
        recipe = default_recipe(new_network(subject, seed), data, device, seed=seed)
    directory = baseline_directory(cache_dir, subject, recipe)
    _say_passed_over(subject, shipped, reporter)
    path = train_baseline(subject, recipe, directory, reporter, advice=_advice(subject))
    return load_baseline(subject, path)


def _say_passed_over(subject: Subject, shipped: ShippedWeights | None, reporter: Reporter) -> None:
    """Say why shipped weights of this network are not used, where there are any."""
    if shipped is not None:
        reporter.say(
            "the shipped weights are passed over: they were trained on other images than this split leaves, "
            "and may have seen the search set (--search-from test makes use of them)"
        )
        return
    reason = why_none_shipped(subject.model_name, subject.stem, subject.data.classes, subject.data.image_shape)
    if reason is not None:
        reporter.say(f"the shipped weights of {subject.model_name} are passed over: {reason}")


def _advice(subject: Subject) -> str:
    """How to do without a long training."""
    zoo = ", or --checkpoint pretrained with --head new for the weights that its package offers"
    offered = zoo if of_zoo(subject.model_name) else ""
    return (
        f"{subject.model_name} has no trained weights for these images, so it is trained before the search; to do "
        f"without, stop here and give --checkpoint FILE with your own{offered}; a stopped training keeps its epochs"
    )


def load_baseline(
    subject: Subject,
    path: Path,
    head: HeadRule | None = None,
    *,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
) -> Baseline:
    """A baseline from a file of weights.

    Files that ``train_baseline`` wrote bring their own normalisation, and say which images they were trained
    on. Any other is fed with the data's normalisation and taken to have seen all training images.

    Args:
        subject: the network and its images.
        path: of the file; ``pretrained`` for the weights that torchvision or timm offers.
        head: what becomes of a head for another number of classes; by default it is refused.
        cache_dir: a new head is kept there.
        reporter: told how far the fitting of a new head is.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit the network or the data.
    """
    head, given = head or HeadRule(), given_weights(subject, path)
    if head.kind == "keep" and given.checked and list(given.outputs) != list(subject.data.classes):
        raise CheckpointError(
            f"{path} was trained on {given.data} with classes {_few(given.outputs)}; "
            f"{subject.data.name} has {_few(subject.data.classes)}"
        )
    model = new_network(subject, seed=0)
    loaded = filled(model, given, subject, head)
    mean, std = given.mean or subject.data.mean, given.std or subject.data.std
    notes = list(loaded.notes)
    if loaded.undrawn:
        used = _fed_with(subject.data, model, given)
        fitted = with_new_head(subject, model, loaded.undrawn, *used, cache_dir, reporter)
        notes.append(f"fitted to {fitted:,} training images")
    source = f"{subject.model_name} from {given.name}" + (f" ({'; '.join(notes)})" if notes else "")
    if not given.checked:
        source, own = f"{source}, taken to have seen all training images", bool(given.mean)
        return _baseline(subject, model, mean, std, source, saw_all=True, own=own)
    unseen = given.train_sha256 == digest_images(subject.train)
    source = (
        f"{subject.model_name} trained on {given.data}, top-1 {given.accuracy:.4f} on held-out images, "
        f"from {path}" + (f" ({'; '.join(notes)})" if notes else "")
    ) + ("" if unseen else "; its training images were others than this split's")
    return _baseline(subject, model, mean, std, source, saw_all=not unseen, own=True)


def _fed_with(data: ImageData, model: nn.Module, given: GivenWeights) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What whoever uses the network will normalise with: as somebody says, the weights, the network, or the data."""
    if data.normalised_by == "given":
        return data.mean, data.std
    if given.mean:
        return given.mean, given.std
    told = of_model(model)
    return (data.mean, data.std) if told is None or len(told.mean) != data.image_shape[0] else (told.mean, told.std)


def _cached(cache_dir: Path, wanted: str) -> Path:
    """The file of the cached baseline whose weights have a digest."""
    folder = cache_dir / BASELINES
    for path in sorted(folder.glob(f"*/{WEIGHTS}")):
        with suppress(CheckpointError):  # a damaged one is none
            if digest_tensors(read_weights(path)[0]) == wanted:
                return path
    raise RunError(f"the original's weights are not in {folder}: name their file by --checkpoint")


def fits_split(shipped: ShippedWeights, train: ImageSet) -> bool:
    """Whether what is held out of the training images is as unseen by shipped weights as they themselves say."""
    if shipped.saw_all_training_images:
        return True
    trained_on = read_weights(shipped.path)[1].get("train_sha256")
    return trained_on is None or trained_on == digest_images(train)


def _load_shipped(subject: Subject, shipped: ShippedWeights) -> Baseline:
    model = new_network(subject, seed=0)
    load_weights(model, shipped.path)
    source = f"shipped with gaprune: {shipped.description}"
    saw_all = shipped.saw_all_training_images or not fits_split(shipped, subject.train)
    return _baseline(subject, model, shipped.mean, shipped.std, source, saw_all=saw_all, own=True)


def _baseline(
    subject: Subject,
    model: nn.Module,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    source: str,
    *,
    saw_all: bool,
    own: bool = False,
) -> Baseline:
    identity = {
        "model": subject.model_name,
        "stem": subject.stem,
        "weights_sha256": digest_tensors(model.state_dict()),
        "mean": list(mean),
        "std": list(std),
    }
    return Baseline(model.eval().to(subject.device), mean, std, source, saw_all, identity, own)


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
