"""Trained weights that a user brings: a file's, or those that torchvision or timm offers; and a new head for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save as save_tensors
from torch import nn

from gaprune.errors import CheckpointError, OptionError, RunError
from gaprune.evaluate import measure
from gaprune.models import (
    PRETRAINED,
    HeadRule,
    Loaded,
    StoredWeights,
    fill_weights,
    load_weights,
    network_of,
    of_metadata,
    of_zoo,
    pretrained,
    read_stored,
    stem_of,
)
from gaprune.progress import Reporter
from gaprune.runs import atomic_write, json_value
from gaprune.training.digest import digest_images, digest_json, digest_tensors
from gaprune.training.head import MOST_IMAGES, fit_head
from gaprune.training.produce import BASELINES, FORMAT, WEIGHTS, described
from gaprune.training.subject import Subject


@dataclass(frozen=True)
class GivenWeights:
    """Weights, and what is known of them.

    Attributes:
        stored: all that may be meant, likeliest first.
        name: what they are, for messages and tables.
        outputs: what their outputs are called, in order; empty where that is not known.
        mean: per channel mean of the 0..255 pixels that they were trained with; empty where it is not known.
        std: per channel standard deviation of the same.
        checked: whether this package trained them, and says on what.
        data: the data set that it trained them on.
        accuracy: top-1 on held-out images of that.
        train_sha256: of the images that it trained them on.
    """

    stored: Sequence[StoredWeights]
    name: str
    outputs: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    checked: bool = False
    data: str = ""
    accuracy: float = 0.0
    train_sha256: str = ""


def check_given(model_name: str, path: Path | None, head: str | None) -> None:
    """Refuse weights that are not there, and a rule for heads that says nothing, before data is read.

    Args:
        model_name: of the network that they are for.
        path: as ``given_weights`` takes it; ``None`` where none are given.
        head: as ``HeadRule`` reads it.

    Raises:
        CheckpointError: there is no such file.
        OptionError: the rule means nothing, or there are no weights that it could be for.
    """
    rule = HeadRule.parse(head)
    if path is None:
        if rule.kind != "keep":
            raise OptionError(f"head {head} says what becomes of a checkpoint's head: give --checkpoint FILE, too")
    elif str(path) != PRETRAINED and not path.is_file():
        raise CheckpointError(f"no such checkpoint file: {path}")
    elif not path.exists() and not of_zoo(model_name):
        pretrained(model_name)


def given_weights(subject: Subject, path: Path) -> GivenWeights:
    """The weights at ``path``, or those that a package offers where it is the word ``pretrained`` and no file.

    Raises:
        CheckpointError: the file is missing or damaged, or the weights cannot be downloaded.
        OptionError: there are none for this network.
    """
    if str(path) == PRETRAINED and not path.exists():
        found = pretrained(subject.model_name)
        return GivenWeights([StoredWeights(found.tensors)], found.source, found.classes, found.mean, found.std)
    stored = read_stored(path)
    metadata = stored[0].metadata
    if metadata.get("format") != FORMAT:
        told = of_metadata(metadata, path.name)
        if told is None or len(told.mean) != subject.data.image_shape[0]:
            return GivenWeights(stored, str(path))
        return GivenWeights(stored, str(path), mean=told.mean, std=told.std)
    try:
        return GivenWeights(
            stored,
            str(path),
            tuple(json_value(metadata["classes"])),
            tuple(json_value(metadata["mean"])),
            tuple(json_value(metadata["std"])),
            checked=True,
            data=metadata.get("data", "other images"),
            accuracy=float(metadata["accuracy"]),
            train_sha256=metadata["train_sha256"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} has damaged metadata: {error!r}") from error


def filled(model: nn.Module, given: GivenWeights, subject: Subject, head: HeadRule) -> Loaded:
    """Fill a network with given weights.

    Raises:
        CheckpointError: they do not fit; the line says what differs, and which network they are of, if that is seen.
    """
    classes = subject.data.classes
    try:
        return fill_weights(model, given.stored, given.name, head=head, classes=classes, outputs=given.outputs)
    except CheckpointError as error:
        stem = stem_of(subject.model_name, subject.stem)
        right = network_of(given.stored, subject.model_name, len(classes), stem) if "does not fit" in str(error) else ""
        if not right:
            raise
        raise CheckpointError(f"{error}; it fits {right}") from error


def with_new_head(
    subject: Subject,
    model: nn.Module,
    names: Sequence[str],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    cache_dir: Path | None,
    reporter: Reporter,
) -> int:
    """Fit the head of a network, or take the one that was fitted to the same images before; for how many images.

    Args:
        subject: the network and its images.
        model: on the CPU; it ends there, with the new head.
        names: of the head's tensors.
        mean: per channel mean of the 0..255 pixels.
        std: per channel standard deviation of the same.
        cache_dir: where the whole network is kept; ``None`` keeps it nowhere.
        reporter: told how far it is.

    Raises:
        ModelError: the head is not linear.
        RunError: it cannot be kept.
    """
    count = min(len(subject.train), MOST_IMAGES)
    body = {name: tensor for name, tensor in model.state_dict().items() if name not in names}
    fingerprint = digest_json(
        {
            "body": digest_tensors(body),
            "classes": list(subject.data.classes),
            "normalisation": [*mean, *std],
            "train": digest_images(subject.train),
        }
    )
    path = None if cache_dir is None else cache_dir / BASELINES / f"head-{fingerprint[:12]}" / WEIGHTS
    if path is not None and path.is_file():
        try:
            load_weights(model, path)
            return count
        except CheckpointError as error:
            reporter.say(f"{error}; it is fitted again")
    model.to(subject.device).eval()
    fit_head(model, names[0].rpartition(".")[0], subject.train, mean, std, reporter=reporter)
    accuracy = measure(model, subject.validate.to(subject.device), mean, std).accuracy
    reporter.say(f"a new head was fitted to {count:,} training images: accuracy {accuracy:.4f} on held-out images")
    model.cpu()
    if path is not None:
        _keep(path, model, described(subject, mean, std, accuracy, ""))
    return count


def _keep(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, save_tensors(tensors, metadata=metadata))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
