"""``python -m gaprune.train``: train a baseline, or go on with one, where a search will find it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gaprune.baseline import (
    Baseline,
    Subject,
    baseline_directory,
    default_recipe,
    held_out_size,
    load_baseline,
    train_baseline,
)
from gaprune.cli import Interrupted, option, options_record, run_command
from gaprune.data import ImageSet, Splits, data_names, default_cache_dir, load_data, split
from gaprune.device import DEVICES, choose_device
from gaprune.errors import OptionError
from gaprune.evaluate.measure import measure
from gaprune.models import check_name, shipped_weights, stem_of
from gaprune.progress import Reporter, make_reporter
from gaprune.session.options import LARGEST_SEED
from gaprune.training import Recipe

PROG = "python -m gaprune.train"
SEARCH = "python -m gaprune.search"
_OF_THE_SEARCH = ("model", "stem", "data", "data_dir", "test_share", "search_size", "seed", "device", "cache_dir")


@dataclass(frozen=True)
class Options:
    """Train the network that a search begins with. Stopped, it goes on when the command is given again."""

    model: str = option("vgg16", "network: vgg16, resnet18, torchvision:NAME, timm:NAME or package.module:factory")
    stem: str = option("cifar", "first layers of resnet18", choices=("cifar", "imagenet"))
    data: str = option("auto", "data set", choices=data_names())
    data_dir: Path | None = option(None, "image folder or CIFAR-10 root", metavar="DIR")
    test_share: float = option(0.2, "share of an image folder without test/ that is split off to report on")
    search_size: int | None = option(
        None, "training images held out for the search set; none is a fifth, at most 2,000"
    )
    epochs: int | None = option(None, "passes over the training images; none suits the data")
    batch_size: int | None = option(None, "images in a step; none suits the data")
    lr: float | None = option(None, "peak learning rate; none suits the data")
    seed: int = option(0, "decides splits, initial weights, order and augmentation")
    device: str = option("auto", "where to train", choices=DEVICES)
    output: Path | None = option(None, "train here, not in the cache", metavar="DIR")
    cache_dir: Path | None = option(None, "where data and baselines are kept", metavar="DIR")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    return run_command(train, Options, PROG, argv)


def train(options: Options) -> None:
    """Train the baseline that the options describe, and say how good it is and where it lies.

    Raises:
        GapruneError: an option, the data or a directory cannot be used, or the training diverged.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    _check(options)
    reporter = make_reporter()
    try:
        _train(options, reporter)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; go on with: {_command(PROG, options)}") from None


def _train(options: Options, reporter: Reporter) -> None:
    device = choose_device(options.device)
    check_name(options.model, stem=options.stem)  # a wrong name is told before data is read
    stem = stem_of(options.model, options.stem)
    cache_dir = default_cache_dir() if options.cache_dir is None else options.cache_dir
    data = load_data(
        options.data,
        data_dir=options.data_dir,
        test_share=options.test_share,
        seed=options.seed,
        cache_dir=cache_dir,
        reporter=reporter,
    )
    search_size = held_out_size(data) if options.search_size is None else options.search_size
    parts = split(data, search_size=search_size, calibration_size=1, seed=options.seed)
    subject = Subject(options.model, stem, data, parts.train, parts.search, device)
    recipe = _recipe(options, default_recipe(options.model, data, device, seed=options.seed))
    directory = options.output or baseline_directory(cache_dir, subject, recipe)
    path = train_baseline(subject, recipe, directory, reporter)
    _report(load_baseline(subject, path), parts, device, reporter)
    reporter.say(f"weights: {path}")
    shipped = shipped_weights(options.model, stem, data.classes, data.image_shape)
    found = options.output is None and _changes(options) == {} and shipped is None
    extra = "" if found else f" --checkpoint {shlex.quote(str(path))}"
    reporter.say(f"search with them: {_command(SEARCH, options, _OF_THE_SEARCH)}{extra}")


def _report(baseline: Baseline, parts: Splits, device: torch.device, reporter: Reporter) -> None:
    def top1(images: ImageSet) -> str:
        result = measure(baseline.model, images.to(device), baseline.mean, baseline.std)
        return f"{result.accuracy:.4f} ({result.correct:,} of {result.total:,})"

    reporter.say(f"top-1 on held-out training images: {top1(parts.search)}")
    reporter.say(f"top-1 on test images: {top1(parts.test)}")


def _check(options: Options) -> None:
    for name, least in (("epochs", 1), ("batch_size", 2), ("search_size", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise OptionError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if options.seed > LARGEST_SEED:
        raise OptionError(f"--seed must be at most {LARGEST_SEED}, got {options.seed}")
    if options.lr is not None and options.lr <= 0:
        raise OptionError(f"--lr must be above 0, got {options.lr:g}")


def _changes(options: Options) -> dict[str, int | float]:
    """The numbers of the recipe that the user has chosen."""
    chosen = {"epochs": options.epochs, "batch_size": options.batch_size, "lr": options.lr}
    return {name: value for name, value in chosen.items() if value is not None}


def _recipe(options: Options, default: Recipe) -> Recipe:
    return dataclasses.replace(default, **_changes(options))  # type: ignore[arg-type]


def _command(prog: str, options: Options, names: Sequence[str] | None = None) -> str:
    """The command line that gives these options (or only those in ``names``) to ``prog``."""
    record, default = options_record(options), options_record(Options())
    words = [prog]
    for name, value in record.items():
        if (names is None or name in names) and (name == "model" or value != default[name]):
            words.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    return " ".join(words)
