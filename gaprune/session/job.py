"""From options to everything that a search needs: data, trained network, pruning graph, evaluator."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from gaprune.baseline import Baseline, default_recipe, fits_split, held_out_size, resolve_baseline
from gaprune.data import ImageData, Splits, data_names, default_cache_dir, load_data, split
from gaprune.device import choose_device, pinned
from gaprune.errors import choice_error
from gaprune.evaluate import Evaluator, Objective, resolve_objectives, resolve_selector
from gaprune.evolve import algorithm_names
from gaprune.models import check_name, shipped_weights, stem_of
from gaprune.progress import Reporter
from gaprune.prune.importances import importance_function
from gaprune.prune.space import PruningSpace
from gaprune.runs import Baseline as Original
from gaprune.runs import environment
from gaprune.runs.directory import SECONDS
from gaprune.session.engine import make_evaluator, measure_original, precision, space_options
from gaprune.session.options import ROUNDS, SearchOptions, record
from gaprune.session.own import Own, opened
from gaprune.session.placement import place
from gaprune.session.statistics_cache import Kept
from gaprune.training.digest import digest_images, digest_json, digest_tensors
from gaprune.training.given import check_given

MOST_STATISTICS = 4096
"""Images for covariances unless told otherwise."""


@dataclass(frozen=True)
class Job:
    """A search that is ready to run.

    Attributes:
        options: what was asked for.
        own: what was given as objects.
        model_name: for file names and tables.
        data: the data set, normalised as the network needs it.
        splits: who may look at which image; on the device.
        baseline: the trained network.
        objectives: what the search minimises.
        evaluator: genome to outcome.
        original: what the whole network reaches and costs.
        threads: CPU threads of an evaluation.
        kept: the statistics, for the run to keep.
        identity: JSON values that a resumed run must find again: weights, images, splits, genome layout.
        since: reading of ``time.perf_counter`` when images and weights were there: the search's time begins.
    """

    options: SearchOptions
    own: Own
    model_name: str
    data: ImageData
    splits: Splits
    baseline: Baseline
    objectives: tuple[Objective, ...]
    evaluator: Evaluator
    original: Original
    threads: int
    kept: Kept
    identity: dict[str, Any]
    since: float

    @property
    def space(self) -> PruningSpace:
        """The genomes of the network."""
        return self.evaluator.space

    def manifest(self) -> dict[str, Any]:
        """Enough to repeat the run."""
        device = self.splits.search.images.device
        cuda = (torch.cuda.get_device_name(device),) if device.type == "cuda" else ()
        return {
            "options": record(self.options),
            "objects": self.own.record(),
            "model": {
                "name": self.model_name,
                "neurons": self.space.graph.neurons,
                "genes": self.space.layout.size,
            },
            "unpruned": [list(pair) for pair in self.space.graph.unpruned],
            "baseline": self.baseline.source,
            "data": {
                "name": self.data.name,
                "source": self.data.source,
                "classes": list(self.data.classes),
                "mean": list(self.data.mean),
                "std": list(self.data.std),
                "skipped": list(self.data.skipped),
                "splits": self.splits.record,
            },
            "objectives": [objective.name for objective in self.objectives],
            "original": dataclasses.asdict(self.original),
            "device": str(device),
            "threads": self.threads,
            "precision": self.identity["precision"],
            "kernels": "cuDNN deterministic, not timed; no TF32",
            "identity": self.identity,
            "environment": environment(cuda),
            SECONDS: 0.0,
        }


def check_names(options: SearchOptions, own: Own) -> tuple[Objective, ...]:
    """Resolve every name before data is read, so that a wrong one is told at once.

    Args:
        options: what was asked for.
        own: what was given as objects.

    Raises:
        OptionError: an unknown name, which lists the valid ones, or a value out of range.
    """
    options.check()
    own.check_options(options.given)
    check_given(options.model, options.checkpoint, options.head)
    if options.algorithm not in algorithm_names():
        raise choice_error("algorithm", options.algorithm, algorithm_names())
    if options.data not in data_names():
        raise choice_error("data", options.data, data_names())
    place(options)
    importance_function(options.importance)
    space_options(options, torch.device("cpu"))
    wanted = options.objectives if own.objectives is None else own.objectives
    return (resolve_selector(wanted),) if options.algorithm == ROUNDS else resolve_objectives(wanted)


def prepare(
    options: SearchOptions,
    own: Own,
    reporter: Reporter,
    directory: Path | None = None,
    wanted: str | None = None,
    search_from: str | None = None,
) -> Job:
    """Make a search ready to run; the baseline is trained here if there is none.

    Args:
        options: what was asked for; checked here.
        own: what was given as objects.
        reporter: told what is used and why, and how long things take.
        directory: of a run to go on with, which may have kept statistics.
        wanted: digest of the weights that a run was made with; no baseline is trained in their place.
        search_from: where that run has its search set from, whatever weights are shipped by now.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    objectives = check_names(options, own)
    device = choose_device(options.device)
    name = network_name(options, own)
    data = own.data or load_images(options, reporter)
    own_network = None if own.model is None else opened(own.model, data, device, reporter)
    splits = split_images(options, data, own.model is not None, reporter, search_from)
    baseline = find_baseline(options, data, splits, device, own_network, reporter, wanted)
    reporter.say(f"network: {name}, {baseline.source}")
    if baseline.saw_all_training_images and splits.record["search_from"] == "train":
        reporter.say("these weights may have seen the search images in training: --search-from test avoids that")
    data = data.with_normalisation(baseline.mean, baseline.std)
    moved = {part: getattr(splits, part).to(device) for part in ("search", "calibration", "test")}
    splits = dataclasses.replace(splits, **moved)
    since = time.perf_counter()
    threads = place(options).threads
    kept = Kept(directory, statistics_key(options, baseline, data, splits, threads), device)
    with pinned(threads):
        evaluator = make_evaluator(options, baseline.model, data, splits, objectives, reporter, kept)
        original = measure_original(baseline.model, evaluator, splits, reporter)
    return Job(
        options=options,
        own=own,
        model_name=name,
        data=data,
        splits=splits,
        baseline=baseline,
        objectives=objectives,
        evaluator=evaluator,
        original=original,
        threads=threads,
        kept=kept,
        identity={
            **baseline.identity,
            **_image_identity(data, splits),
            **_search_identity(options, evaluator, device, threads),
        },
        since=since,
    )


def network_name(options: SearchOptions, own: Own) -> str:
    """What the network is called; a name that stands for none is told at once."""
    if own.model is not None:
        return own.model_name
    check_name(options.model, stem=options.stem)
    return options.model


def _search_identity(
    options: SearchOptions, evaluator: Evaluator, device: torch.device, threads: int
) -> dict[str, Any]:
    """What names how candidates are laid out and judged."""
    return {
        "objectives": [objective.name for objective in evaluator.objectives],
        "genes": evaluator.space.layout.size,
        "round_to": evaluator.space.options.round_to,
        "device": device.type,
        "threads": threads,
        "precision": precision(options, device),
    }


def _image_identity(data: ImageData, splits: Splits) -> dict[str, Any]:
    """What names the images that a search looks at."""
    return {
        "search": digest_images(splits.search),
        "calibration": digest_images(splits.calibration),
        "test": digest_images(splits.test),
        "normalisation": [*data.mean, *data.std],
    }


def statistics_key(options: SearchOptions, baseline: Baseline, data: ImageData, splits: Splits, threads: int) -> str:
    """What statistics depend on; with equal keys they are equal."""
    names = ("compensation", "importance", "statistics_size", "calibration_size", "batch_size")
    return digest_json(
        {
            "weights": baseline.identity,
            "images": digest_images(splits.calibration),
            "normalisation": [*data.mean, *data.std],
            "options": {name: getattr(options, name) for name in names},
            "threads": threads,
        }
    )


def load_images(options: SearchOptions, reporter: Reporter) -> ImageData:
    """The data set that the options name."""
    data = load_data(
        options.data,
        data_dir=options.data_dir,
        test_share=options.test_share,
        seed=options.seed,
        cache_dir=options.cache_dir,
        reporter=reporter,
    )
    reporter.say(f"data: {data.name}, {len(data.train):,} training and {len(data.test):,} test images")
    return data


def split_images(
    options: SearchOptions, data: ImageData, own_model: bool, reporter: Reporter, settled: str | None = None
) -> Splits:
    """Who may look at which image; a search set for weights that may have seen it comes from the test images.

    Args:
        options: what was asked for.
        data: the images.
        own_model: whether the network is the caller's.
        reporter: told why, where that is not plain.
        settled: what ``auto`` was for the run that goes on.
    """
    asked = settled if options.search_from == "auto" else options.search_from
    if asked is not None:
        return _split(options, data, asked)
    found = _split(options, data, "train")
    if own_model or options.checkpoint is not None:
        return found
    stem = stem_of(options.model, options.stem)
    shipped = shipped_weights(options.model, stem, data.classes, data.image_shape)
    if shipped is None or (not shipped.saw_all_training_images and fits_split(shipped, found.train)):
        return found
    seen = (
        "have seen all training images" if shipped.saw_all_training_images else "were trained on another split or copy"
    )
    reporter.say(f"the shipped weights {seen}: searching on test images")
    return _split(options, data, "test")


def _split(options: SearchOptions, data: ImageData, source: str) -> Splits:
    pool = data.train if source == "train" else data.test
    size = options.search_size if options.search_size is not None else min(held_out_size(data), len(pool) // 2)
    rest = len(data.train) - (size if source == "train" else 0)
    return split(
        data,
        search_from=cast(Literal["train", "test"], source),
        search_size=size,
        calibration_size=min(max(options.calibration_size, options.statistics_size or MOST_STATISTICS), rest),
        seed=options.seed,
    )


def find_baseline(
    options: SearchOptions,
    data: ImageData,
    splits: Splits,
    device: torch.device,
    model: nn.Module | None,
    reporter: Reporter,
    wanted: str | None = None,
) -> Baseline:
    """The trained network that the options name, or the caller's own, which ``opened`` has given.

    ``wanted`` is as ``resolve_baseline`` has it.
    """
    if model is not None:
        return Baseline(
            model=model.eval(),
            mean=data.mean,
            std=data.std,
            source="given by the caller",
            saw_all_training_images=True,
            identity={"weights_sha256": digest_tensors(model.state_dict())},
        )
    return resolve_baseline(
        options.model,
        options.stem,
        data,
        train=splits.train,
        validate=splits.search,
        cache_dir=options.cache_dir or default_cache_dir(),
        device=device,
        checkpoint=options.checkpoint,
        head=options.head,
        recipe=default_recipe(options.model, data, device, seed=options.seed),
        wanted=wanted,
        search_from=str(splits.record["search_from"]),
        reporter=reporter,
    )
