"""What benchmarks are run on: a trained network, its images, its statistics; and work that survives a kill.

A subject is one network with its splits and its pruning graph. ``--quick`` stands a small network on the built-in
digits in its place. Results name no path of the machine that they were made on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import gaprune
from gaprune.baseline import Baseline, resolve_baseline
from gaprune.data import ImageData, ImageSet, Splits, default_cache_dir, first, load_data, split
from gaprune.device import choose_device
from gaprune.evaluate import measure
from gaprune.genome import Floats
from gaprune.progress import Reporter
from gaprune.prune.checking import checked_graph
from gaprune.prune.compensate.statistics import Statistics, collect, consumers, images_wanted
from gaprune.prune.compensate.statistics_store import load_statistics, save_statistics
from gaprune.prune.cut.costs import CostModel, cost_model
from gaprune.prune.cut.masks import Masks
from gaprune.prune.graph.graph import Graph
from gaprune.prune.norms.recalibration import Anchor, Recalibrator, recalibrate, take_anchors
from gaprune.prune.rank.registry import importance_function
from gaprune.prune.space import PruningSpace
from gaprune.training import Recipe, bfloat16_pays, fit
from gaprune.training.digest import digest_json, digest_tensors

SEARCH_IMAGES = 2_000
CALIBRATION_IMAGES = 8_192
RECALIBRATION_IMAGES = 512
QUICK = {"search": 120, "calibration": 240, "recalibration": 64}
SEED = 0


@dataclass(frozen=True)
class Subject:
    """A trained network and everything that judging its prunings needs.

    Attributes:
        name: network and data, for file names.
        network: the network's name, without its stem.
        model: the original, in eval mode.
        data: the data set, normalised as the network was trained with.
        splits: who may look at which image; on the network's device.
        graph: the pruning graph.
        costs: its cost formulas.
        recalibration: calibration images that batch norm is recalibrated on, for all sides alike.
        identity: digest of the weights, splits and normalisation, as JSON values.
    """

    name: str
    network: str
    model: nn.Module
    data: ImageData
    splits: Splits
    graph: Graph
    costs: CostModel
    recalibration: ImageSet
    identity: dict[str, Any]

    @property
    def variant(self) -> str:
        """The network's name with its stem, as goals have it that hold for one stem."""
        return self.name.removesuffix(f"-{self.data.name}")

    @property
    def device(self) -> torch.device:
        """Where the network and the images are."""
        return self.splits.test.images.device

    @property
    def norm(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the pixels by channel."""
        return self.data.mean, self.data.std

    @property
    def precision(self) -> str:
        """Of the convolutions in every measurement of this subject, all sides alike."""
        return "bfloat16 autocast" if bfloat16_pays(self.device) else "float32"

    def flops(self, masks: Masks | None = None) -> int:
        """Of a candidate, or of the original."""
        return self.costs.flops(Masks.full(self.graph) if masks is None else masks)

    def accuracy(self, network: nn.Module, images: ImageSet) -> float:
        """Top-1, 0 to 1, channels last, in the subject's precision."""
        network = network.to(memory_format=torch.channels_last)
        with self._autocast():
            return measure(network, images, *self.norm).accuracy

    @cached_property
    def anchors(self) -> dict[str, Anchor]:
        """What the original's batch norms are fed with on the images for recalibration."""
        return take_anchors(self.model, self.recalibration, *self.norm)

    def recalibrate(self, network: nn.Module, masks: Masks | None = None) -> nn.Module:
        """The network, its batch norm measured anew in place: anchored where its masks are given, else plainly."""
        network = network.to(memory_format=torch.channels_last)
        with self._autocast():
            if masks is None:
                recalibrate(network, self.recalibration, *self.norm)
            else:
                Recalibrator(self.recalibration, *self.norm, graph=self.graph, anchors=self.anchors)(network, masks)
        return network

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16_pays(self.device))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which network and which images."""
    parser.add_argument("--model", default="vgg16", choices=("vgg16", "resnet18"))
    parser.add_argument("--stem", default="cifar", choices=("cifar", "imagenet"), help="of resnet18")
    parser.add_argument("--checkpoint", type=Path, help="trained weights; default: shipped, cached or trained now")
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10 as torchvision or as an image folder has it")


def load_subject(options: argparse.Namespace, reporter: Reporter) -> Subject:
    """The network and images of the command line; the small ones on digits with ``--quick``."""
    device = choose_device("auto")
    if options.quick:
        return _small(device)
    data = load_data("auto", data_dir=options.data_dir, reporter=reporter)
    splits = _split(data, "train")
    baseline = resolve_baseline(
        options.model,
        options.stem,
        data,
        train=splits.train.to(device),
        validate=splits.search.to(device),
        cache_dir=default_cache_dir(),
        device=device,
        checkpoint=options.checkpoint,
        search_from="test",
        reporter=reporter,
    )
    if baseline.saw_all_training_images:
        splits = _split(data, "test")
    stem = "-imagenet" if options.model == "resnet18" and options.stem == "imagenet" else ""
    name = f"{options.model}{stem}-{data.name}"
    return made_subject(name, options.model, baseline, data, splits, RECALIBRATION_IMAGES)


def fixed_sample(images: ImageSet, count: int) -> ImageSet:
    """``count`` images drawn once and for all, or all of them."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED + 1))
    return images.select(order[:count].to(images.labels.device))


def code_digest(package: str = "") -> str:
    """First 12 hex digits of the SHA-256 of gaprune's sources: rows that another version measured do not count.

    Args:
        package: folder inside gaprune, where rows depend on that alone.
    """
    root = Path(gaprune.__file__).parent / package
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def study(subject: Subject, reporter: Reporter, kept: Path | None = None) -> tuple[Statistics, PruningSpace]:
    """Statistics of the original, and the space of its neuron genes with the removal order's worth and ladder.

    Args:
        subject: the network.
        reporter: told how long it takes.
        kept: file that keeps the statistics for the next time.
    """
    model, graph = subject.model, subject.graph
    images = first(subject.splits.calibration, images_wanted(consumers(model, graph)))
    key = digest_json({**subject.identity, "images": len(images), "code": code_digest("prune")})
    statistics = None if kept is None else load_statistics(kept, key, subject.device)
    if statistics is None:
        statistics = collect(model, graph, images, *subject.norm, reporter=reporter)
        if kept is not None:
            save_statistics(kept, statistics, key)
    importance = importance_function("obs")(model, graph, statistics, reporter=reporter)
    return statistics, PruningSpace(graph, subject.costs, importance)


def widest_within(
    subject: Subject, budget: float, worth: Floats, shares: Callable[[float], Floats], *, steps: int = 40
) -> Masks:
    """The largest candidate of at most ``budget`` of the FLOPs, on a path of keep shares.

    Args:
        subject: the network.
        budget: share of the FLOPs, 0 to 1.
        worth: (neurons,) the worthiest of each group are kept, at least one.
        shares: from a level between 0 and 1 to the (groups,) shares of neurons kept.
        steps: of the bisection of the level.
    """
    low, high = 0.0, 1.0
    best = _keep(subject.graph, worth, shares(0.0))
    for _ in range(steps):
        level = (low + high) / 2
        masks = _keep(subject.graph, worth, shares(level))
        if subject.flops(masks) <= budget * subject.flops():
            low, best = level, masks
        else:
            high = level
    return best


class WorkFile:
    """Rows already measured, one JSON line each, so that a killed run goes on where it stopped.

    Args:
        path: of the file; its folder is made.
        identity: what the rows depend on; rows of anything else are forgotten.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._rows: dict[str, Any] = {}
        lines = _whole_lines(path)
        if lines and lines[0] == identity:
            self._rows = {line["key"]: line["row"] for line in lines[1:]}
        text = [identity, *({"key": key, "row": row} for key, row in self._rows.items())]
        path.write_text("".join(json.dumps(line) + "\n" for line in text))

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def row(self, key: str, make: Callable[[], Any]) -> Any:
        """The row of ``key``: the one on disk, or a new one (JSON values), which goes there."""
        if key not in self._rows:
            self._rows[key] = make()
            with self._path.open("a") as file:
                file.write(json.dumps({"key": key, "row": self._rows[key]}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return self._rows[key]

    def beside(self, name: str) -> Path:
        """A folder for the states of a training; it goes when the work is done."""
        return self._path.with_suffix(".states") / name

    def remove(self) -> None:
        """The work is done: forget how far it was."""
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self._path.with_suffix(".states"), ignore_errors=True)


def small_network(classes: int) -> nn.Module:
    """A network that learns the digits in seconds, with a chain of convolutions and biases as VGG has them."""
    widths = (3, 12, 16, 24)
    layers: list[nn.Module] = []
    for width, out in itertools.pairwise(widths):
        layers += [nn.Conv2d(width, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def _small(device: torch.device) -> Subject:
    torch.set_num_threads(1)  # more only wait for each other on networks this small
    data = load_data("digits")
    splits = _split(data, "train", QUICK["search"], QUICK["calibration"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = small_network(len(data.classes)).to(device)
    recipe = Recipe(epochs=3, batch_size=64, lr=0.1, pad=1)
    train, validate = splits.train.to(device), splits.search.to(device)
    fit(model, train, validate, mean=data.mean, std=data.std, flip=data.flip, recipe=recipe)
    model.zero_grad(set_to_none=True)
    identity = {"weights_sha256": digest_tensors(model.state_dict())}
    baseline = Baseline(model, data.mean, data.std, "trained for this smoke run", False, identity)
    return made_subject("small-digits", "small", baseline, data, splits, QUICK["recalibration"])


def _split(
    data: ImageData,
    search_from: Literal["train", "test"],
    search: int = SEARCH_IMAGES,
    calibration: int = CALIBRATION_IMAGES,
) -> Splits:
    return split(data, search_from=search_from, search_size=search, calibration_size=calibration, seed=SEED)


def made_subject(
    name: str, network: str, baseline: Baseline, data: ImageData, splits: Splits, recalibration: int
) -> Subject:
    """A subject of a baseline, whose images go where it is; ``recalibration`` of them are for batch norm."""
    device = next(baseline.model.parameters()).device
    data = data.with_normalisation(baseline.mean, baseline.std)
    parts = {part: getattr(splits, part).to(device) for part in ("train", "search", "calibration", "test")}
    splits = dataclasses.replace(splits, **parts)
    graph = checked_graph(baseline.model, data.image_shape)
    costs = cost_model(baseline.model, graph, data.image_shape)
    return Subject(
        name=name,
        network=network,
        model=baseline.model,
        data=data,
        splits=splits,
        graph=graph,
        costs=costs,
        recalibration=first(splits.calibration, recalibration),
        identity={**baseline.identity, "splits": splits.record, "recalibration_images": recalibration},
    )


def _keep(graph: Graph, worth: Floats, shares: Floats) -> Masks:
    kept = np.zeros(graph.neurons, dtype=np.bool_)
    for group, share in zip(graph.groups, shares, strict=True):
        best = np.argsort(-worth[group.slice], kind="stable")
        kept[group.start + best[: max(1, round(float(share) * group.size))]] = True
    return Masks(kept)


def _whole_lines(path: Path) -> list[Any]:
    """The lines of a file up to the first that is cut short."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
