"""``python -m gaprune.train``: train a baseline, or go on with one, where a search will find it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from gaprune.baseline import (
    Baseline,
    Subject,
    baseline_directory,
    default_recipe,
    load_baseline,
    train_baseline,
)
from gaprune.commands.lines import SEARCH
from gaprune.commands.lines import TRAIN as PROG
from gaprune.commands.lines import train_main as main
from gaprune.data import ImageSet, SearchFrom, Splits, default_cache_dir, split
from gaprune.device import choose_device, in_turn
from gaprune.evaluate import measure
from gaprune.models import check_name, shipped_weights, stem_of
from gaprune.options import Interrupted, ReadingOptions, SearchOptions, TrainOptions, names_of, options_record
from gaprune.progress import Reporter, heard, make_reporter
from gaprune.session import in_hand, load_images, reading, search_size
from gaprune.training import Recipe, new_network

__all__ = ["main", "train"]

_OF_THE_SEARCH = (
    "model",
    "stem",
    "data",
    "data_dir",
    "test_share",
    *names_of(ReadingOptions),
    "search_size",
    "seed",
    "device",
    "cache_dir",
)


@in_turn()
def train(options: TrainOptions) -> None:
    """Train the baseline that the options describe, and say how good it is and where it lies.

    Raises:
        GapruneError: an option, the data or a directory cannot be used, or the training diverged.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    options.check()
    reading(_search_options(options))
    reporter = make_reporter()
    try:
        with heard(reporter, quiet=options.screen.quiet, log_level=options.screen.log_level) as told:
            path = _train(options, told)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; go on with: {_command(PROG, options)}") from None
    if options.screen.quiet:
        reporter.say(str(path))


def _search_options(options: TrainOptions) -> SearchOptions:
    """The same data and splits as a search with these options has."""
    return SearchOptions.of(**{name: getattr(options, name) for name in _OF_THE_SEARCH})


def _train(options: TrainOptions, reporter: Reporter) -> Path:
    device = choose_device(options.training.device)
    check_name(options.network.model, stem=options.network.stem)  # a wrong name is told before data is read
    stem = stem_of(options.network.model, options.network.stem)
    cache_dir = default_cache_dir() if options.places.cache_dir is None else options.places.cache_dir
    data = load_images(_search_options(options), reporter, counted=False)
    held_out_of: SearchFrom = "train" if data.validation is None else "validation"
    asked, seed = options.images.search_size, options.training.seed
    size = search_size(data, held_out_of) if asked is None else asked
    drawn = split(data, search_from=held_out_of, search_size=size, calibration_size=1, seed=seed)
    parts, _ = in_hand(drawn, cache_dir, device, reporter)
    subject = Subject(options.network.model, stem, data, parts.train, parts.search, device)
    recipe = _recipe(options, default_recipe(new_network(subject, seed), data, device, seed=seed))
    directory = options.places.output or baseline_directory(cache_dir, subject, recipe)
    path = train_baseline(subject, recipe, directory, reporter)
    _report(load_baseline(subject, path), parts, device, reporter)
    reporter.say(f"weights: {path}")
    shipped = shipped_weights(options.network.model, stem, data.classes, data.image_shape)
    found = options.places.output is None and _changes(options) == {} and shipped is None
    extra = "" if found else f" --checkpoint {shlex.quote(str(path))}"
    reporter.say(f"search with them: {_command(SEARCH, options, _OF_THE_SEARCH)}{extra}")
    return path


def _report(baseline: Baseline, parts: Splits, device: torch.device, reporter: Reporter) -> None:
    def top1(images: ImageSet) -> str:
        result = measure(baseline.model, images.to(device), baseline.mean, baseline.std)
        return f"{result.accuracy:.4f} ({result.correct:,} of {result.total:,})"

    reporter.say(f"top-1 on held-out training images: {top1(parts.search)}")
    reporter.say(f"top-1 on test images: {top1(parts.test)}")


def _changes(options: TrainOptions) -> dict[str, int | float]:
    """The numbers of the recipe that the user has chosen."""
    asked = options.training
    chosen = {"epochs": asked.epochs, "batch_size": asked.batch_size, "lr": asked.lr}
    return {name: value for name, value in chosen.items() if value is not None}


def _recipe(options: TrainOptions, default: Recipe) -> Recipe:
    return dataclasses.replace(default, **_changes(options))  # type: ignore[arg-type]


def _command(prog: str, options: TrainOptions, names: Sequence[str] | None = None) -> str:
    """The command line that gives these options (or only those in ``names``) to ``prog``."""
    record, default = options_record(options), options_record(TrainOptions())
    words = [prog]
    for name, value in record.items():
        if (names is None or name in names) and (name == "model" or value != default[name]):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"--{name.replace('_', '-')} {shlex.quote(text)}")
    return " ".join(words)
