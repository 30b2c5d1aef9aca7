"""From options to everything that a search needs: data, trained network, pruning graph, evaluator."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaprune.baseline import Baseline, resolve_baseline
from gaprune.data import ImageData, Splits, default_cache_dir, normalisation_line
from gaprune.device import choose_device, pinned
from gaprune.evaluate import (
    Evaluator,
    Measurement,
    Objective,
    judged_by,
    resolve_objectives,
    resolve_selector,
)
from gaprune.models import check_name
from gaprune.options import LATENCY, ROUNDS, TASK, SearchOptions, record
from gaprune.progress import Reporter
from gaprune.prune import PruningSpace
from gaprune.runs import SECONDS, environment
from gaprune.runs import Baseline as Original
from gaprune.session.engine import (
    Left,
    constraints,
    make_evaluator,
    measure_original,
    precision,
    say_original,
    space_options,
)
from gaprune.session.images import in_hand, load_images, normalised, reading, split_images
from gaprune.session.judging import judged
from gaprune.session.material import ImageMaterial, Material
from gaprune.session.own import Own, opened
from gaprune.session.placement import Placement, place
from gaprune.session.reach import check_untrained
from gaprune.session.statistics_cache import Kept
from gaprune.session.task_options import check_task, task_objectives
from gaprune.session.timing import check_latency_placed, judges_latency, latency_record
from gaprune.training import check_given, digest_images, digest_json, digest_tensors


@dataclass(frozen=True)
class Job:
    """A search that is ready to run.

    Attributes:
        options: what was asked for.
        own: what was given as objects.
        model_name: for file names and tables.
        material: what networks are shown and judged by.
        baseline: the trained network.
        objectives: what the search minimises.
        evaluator: genome to outcome.
        original: what the whole network reaches and costs.
        threads: CPU threads of an evaluation.
        kept: the statistics, for the run to keep.
        identity: JSON values that a resumed run must find again: weights, images, splits, genome layout.
        since: reading of ``time.perf_counter`` when images and weights were there: the search's time begins.
        true_original: the network that ``baseline`` was pruned from by earlier searches; ``None`` without such.
    """

    options: SearchOptions
    own: Own
    model_name: str
    material: Material
    baseline: Baseline
    objectives: tuple[Objective, ...]
    evaluator: Evaluator
    original: Original
    threads: int
    kept: Kept
    identity: dict[str, Any]
    since: float
    true_original: nn.Module | None = None

    @property
    def form(self) -> nn.Module | str:
        """What members are loaded onto: the caller's network, or the name that was told; never what a file names."""
        return self.options.network.model if self.own.model is None else self.own.model

    @property
    def space(self) -> PruningSpace:
        """The genomes of the network."""
        return self.evaluator.space

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return self.material.device

    @property
    def images(self) -> ImageMaterial:
        """The images, where the search is of images."""
        assert isinstance(self.material, ImageMaterial), "who asks for images knows that there are some"
        return self.material

    @property
    def data(self) -> ImageData:
        """The data set, where the search is of images."""
        return self.images.data

    @property
    def splits(self) -> Splits:
        """Who may look at which image; on the device."""
        return self.images.splits

    def manifest(self) -> dict[str, Any]:
        """Enough to repeat the run."""
        cuda = (torch.cuda.get_device_name(self.device),) if self.device.type == "cuda" else ()
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
            **self.material.manifest(),
            "objectives": [objective.name for objective in self.objectives],
            "original": dataclasses.asdict(self.original),
            "device": str(self.device),
            "threads": self.threads,
            "precision": self.identity["precision"],
            "kernels": "cuDNN deterministic, not timed; no TF32",
            **latency_record(self.evaluator.clock),
            "identity": self.identity,
            "environment": environment(cuda),
            SECONDS: 0.0,
        }


@dataclass(frozen=True)
class Before:
    """What a run that goes on was made with.

    Attributes:
        weights: digest of the original's.
        search_from: where its search set comes from, whatever weights are shipped by now.
        mean: of the pixels, whatever anybody says of them by now; empty where that is not recorded.
        std: likewise.
        original: what the whole network reaches and costs, measured when the run began; ``None`` where it does not say.
        latency: under which conditions networks were timed, and what the original took; ``None`` where none was.
        left: which neurons its genomes have, whatever is understood of the network by now.
        task: what it says of a task of the caller's own; ``None`` where its search was of images.
    """

    weights: str | None
    search_from: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    original: Original | None = None
    latency: dict[str, Any] | None = None
    left: Left | None = None
    task: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Before:
        """From the run's manifest, of this version or an older one."""
        data, neurons = manifest.get("data", {}), manifest.get("model", {}).get("neurons")
        layers = tuple(layer for layer, _ in manifest.get("unpruned", ()))
        return cls(
            weights=manifest.get("identity", {}).get("weights_sha256"),
            search_from=data.get("splits", {}).get("search_from"),
            mean=tuple(data.get("mean", ())),
            std=tuple(data.get("std", ())),
            original=_measured_whole(Original.of(manifest.get("original")), manifest),
            latency=manifest.get(LATENCY),
            left=None if neurons is None else Left(neurons, layers),
            task=manifest.get(TASK),
        )

    def normalised(self, data: ImageData, reporter: Reporter) -> ImageData:
        """The data with the run's normalisation; a line where another one is given by now."""
        if not self.mean or not self.std:
            return data
        if data.normalised_by == "given" and (data.mean, data.std) != (self.mean, self.std):
            reporter.say(normalisation_line(self.mean, self.std, "as the run began, whatever is given by now"))
        return data.with_normalisation(self.mean, self.std)


def _measured_whole(found: Original | None, manifest: Mapping[str, Any]) -> Original | None:
    """What a run says of its original, where it was tested, too, or need not be."""
    return None if found is None or (found.test_accuracy is None and TASK not in manifest) else found


@dataclass(frozen=True)
class Checked:
    """Options without a contradiction or a wrong name, and what they stand for.

    Attributes:
        options: what was asked for.
        own: what was given as objects.
        objectives: what the search minimises.
        placement: where candidates are evaluated.
    """

    options: SearchOptions
    own: Own
    objectives: tuple[Objective, ...]
    placement: Placement


def check_names(options: SearchOptions, own: Own) -> Checked:
    """Resolve every name before data is read, so that a wrong one is told at once.

    Args:
        options: what was asked for.
        own: what was given as objects.

    Raises:
        OptionError: an unknown name, which lists the valid ones, or a value out of range.
    """
    options.check()
    own.check_options(options.given)
    network = options.network
    if own.model is None:
        check_name(network.model, stem=network.stem)
        check_given(network.model, network.checkpoint, network.head)
    placement = place(options)
    if own.task is not None:
        check_task(options, own)
        space_options(options, torch.device("cpu"))
        return Checked(options, own, task_objectives(options, own), placement)
    reading(options)
    space_options(options, torch.device("cpu"))
    wanted = options.fitness.objectives if own.objectives is None else own.objectives
    wanted = judged_by(wanted, options.fitness.fitness)
    objectives = (resolve_selector(wanted),) if options.evolution.algorithm == ROUNDS else resolve_objectives(wanted)
    check_latency_placed(options, objectives, placement)
    return Checked(options, own, objectives, placement)


def prepare(
    checked: Checked,
    reporter: Reporter,
    directory: Path | None = None,
    before: Before | None = None,
) -> Job:
    """Make a search ready to run; the baseline is trained here if there is none.

    Args:
        checked: what was asked for.
        reporter: told what is used and why, and how long things take.
        directory: of a run to go on with, which may have kept statistics.
        before: what that run was made with; no baseline is trained in its weights' place.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    options, own, objectives, threads = checked.options, checked.own, checked.objectives, checked.placement.threads
    device = choose_device(options.machine.device)
    name = own.model_name or options.network.model
    data = load_images(options, reporter, own.data)
    own_network = None if own.model is None else opened(own.model, data, device, reporter)
    if own_network is None and before is None:
        check_untrained(options, constraints(options), space_options(options, device), data)
    splits = split_images(options, data, own.model is not None, reporter, before.search_from if before else None)
    splits, skipped = in_hand(splits, options.run.cache_dir, device, reporter)
    data = dataclasses.replace(data, skipped=(*data.skipped, *skipped))
    baseline = find_baseline(options, data, splits, device, own_network, reporter, before.weights if before else None)
    called = "" if baseline.source.startswith(name) else f"{name}, "
    reporter.say(f"network: {called}{baseline.source}")
    if baseline.saw_all_training_images and splits.record["search_from"] == "train":
        reporter.say("these weights may have seen the search images in training: --search-from test avoids that")
    data = before.normalised(data, reporter) if before else normalised(data, baseline, reporter)
    since = time.perf_counter()
    kept = Kept(directory, statistics_key(options, baseline, data, splits, threads), device)
    with pinned(threads):
        known = before.original if before else None
        found = None if known else judged(options, baseline.model, data, splits, reporter, settled=before is not None)
        timed, left = (before.latency, before.left) if before else (None, None)
        evaluator = make_evaluator(
            options, baseline.model, data, splits, objectives, reporter, kept, threads=threads, timed=timed, left=left
        )
        original = _original(known, baseline.model, evaluator, splits, found, reporter)
    material = ImageMaterial(data, splits)
    return Job(
        options=options,
        own=own,
        model_name=name,
        material=material,
        baseline=baseline,
        objectives=objectives,
        evaluator=evaluator,
        original=original,
        threads=threads,
        kept=kept,
        identity={
            **baseline.identity,
            **material.identity(),
            **search_identity(options, evaluator, threads, precision(options, device)),
        },
        since=since,
    )


def _original(
    known: Original | None,
    model: nn.Module,
    evaluator: Evaluator,
    splits: Splits,
    searched: Measurement | None,
    reporter: Reporter,
) -> Original:
    """What the whole network reaches and costs: what the run says already, or what is measured now; it is said."""
    if known is None:
        assert searched is not None
        known = measure_original(model, evaluator, splits, searched, reporter)
    say_original(known, splits, reporter)
    return known


def search_identity(options: SearchOptions, evaluator: Evaluator, threads: int, computed_in: str) -> dict[str, Any]:
    """What names how candidates are laid out and judged; ``computed_in`` is the precision of the fitness."""
    clock = evaluator.clock if judges_latency(options, evaluator.objectives) else None
    return {
        "objectives": [objective.name for objective in evaluator.objectives],
        "genes": evaluator.space.layout.size,
        "round_to": evaluator.space.options.round_to,
        "device": evaluator.task.device_type,
        "threads": threads,
        "precision": computed_in,
        **({} if clock is None else {LATENCY: clock.conditions.record()}),
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
            **({} if options.space.recalibration == "plain" else {"recalibration": options.space.recalibration}),
            **({} if options.space.layers == "conv" else {"layers": options.space.layers}),
        }
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
        options.network.model,
        options.network.stem,
        data,
        train=splits.train,
        validate=splits.search,
        cache_dir=options.run.cache_dir or default_cache_dir(),
        device=device,
        checkpoint=options.network.checkpoint,
        head=options.network.head,
        seed=options.evolution.seed,
        wanted=wanted,
        search_from=str(splits.record["search_from"]),
        reporter=reporter,
    )
