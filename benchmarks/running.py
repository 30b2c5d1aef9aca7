"""What benchmarks and experiments run: searches and fine-tunings that go on where they were stopped."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import gaprune
from benchmarks.subjects import code_digest
from gaprune.commands.search import SearchResult
from gaprune.data import load_data
from gaprune.errors import OptionError, RunError
from gaprune.progress import Reporter
from gaprune.runs import FrontRow, choose, environment, pick, read_manifest, tables
from gaprune.runs.directory import SECONDS
from gaprune.runs.files import write_json
from gaprune.training import Recipe, fit

VERSIONS = "versions.json"
QUICK_NETWORK = "benchmarks.running:quick_network"
QUICK_SIZES = {"search_size": 120, "calibration_size": 64, "statistics_size": 240, "device": "cpu", "threads": 1}


def quick_network(num_classes: int) -> nn.Module:
    """A network that learns the digits in seconds; smoke runs stand it in for the real ones."""
    widths = (3, 12, 16, 24)
    layers: list[nn.Module] = []
    for width, out in itertools.pairwise(widths):
        layers += [nn.Conv2d(width, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))


@dataclass(frozen=True)
class Setting:
    """Which network on which images, and where runs lie.

    Attributes:
        name: of the network, with its stem.
        data: name of the data, for file names.
        options: of a search, that say it all.
        work: folder of the runs.
        reporter: told how they go.
        epoch_images: training images of an epoch, drawn anew for each; None is all of them.
    """

    name: str
    data: str
    options: dict[str, Any]
    work: Path
    reporter: Reporter
    epoch_images: int | None = None

    def search(self, name: str, **options: Any) -> SearchResult:
        """A search that is begun, resumed, or read; options that may not change must be as they were."""
        path = self.work / name
        if options.get("round_epochs") or options.get("iterations", 1) > 1:
            options["epoch_images"] = self.epoch_images
        network, data = self.options["model"], self.options["data"]
        rest = {key: value for key, value in self.options.items() if key not in ("model", "data")}
        if (path / "manifest.json").exists():
            return self.resume(path, **options)
        return self._known(gaprune.search(network, data, output=path, reporter=self.reporter, **rest, **options))

    def resume(self, path: Path, **options: Any) -> SearchResult:
        """A search that lies anywhere: gone on with, or read where it is finished."""
        names = ("data_dir", "cache_dir", "checkpoint", "search_size")
        places = {name: self.options[name] for name in names if name in self.options}
        network, data = self.options["model"], self.options["data"]
        return self._known(gaprune.search(network, data, resume=path, reporter=self.reporter, **places, **options))

    def _known(self, result: SearchResult) -> SearchResult:
        """The search, if it is of this data; that it was at work here is noted."""
        searched = read_manifest(result.path)["data"]["name"]
        if searched != self.data:
            raise RunError(f"{result.path} was searched on {searched}: name {self.data} by --data-dir")
        self._note_version()
        return result

    def _note_version(self) -> None:
        """Add the code and the machine of now to those that this folder's work was done with."""
        self.work.mkdir(parents=True, exist_ok=True)
        now = {"code": code_digest(), "cpu": environment()["cpu"]}
        write_json(self.work / VERSIONS, [*(one for one in self.versions() if one != now), now])

    def versions(self) -> list[dict[str, str]]:
        """Digests of gaprune's sources, and machines, that worked in this folder, the last one last."""
        file = self.work / VERSIONS
        found: list[dict[str, str]] = json.loads(file.read_text()) if file.exists() else []
        return found

    def finetune(self, run: SearchResult, choice: str, **options: Any) -> SearchResult:
        """Members trained on; those that were before are not trained again."""
        names = ("data_dir", "cache_dir", "checkpoint", "device", "threads")
        places = {name: self.options[name] for name in names if name in self.options}
        found: SearchResult = gaprune.finetune(
            run.path,
            pick=choice,
            epoch_images=self.epoch_images,
            trust=True,  # the run is this folder's own
            reporter=self.reporter,
            **places,
            **options,
        )
        return found

    def trainings(self, run: Path, row: FrontRow) -> list[dict[str, Any]]:
        """Every fine-tuning of a member in epochs of as many images, oldest first."""
        metrics: dict[str, Any] = json.loads((run / row.home / "metrics.json").read_text())
        return [one for one in metrics.get("finetuned", []) if one["recipe"].get("epoch_images") == self.epoch_images]

    def outcome(self, run: Path, row: FrontRow, epochs: int) -> dict[str, Any]:
        """A member after so many epochs alone, or as the search left it where that is better on the search images."""
        before = row.untrained()
        alone = [one for one in self.trainings(run, row) if one["epochs"] == epochs and "shared" not in one["lesson"]]
        after = alone[-1]
        better = after["search_accuracy"] > before.search_accuracy
        best = after if better else {name: getattr(before, name) for name in ("search_accuracy", "test_accuracy")}
        return {
            "search_accuracy": best["search_accuracy"],
            "test_accuracy": best["test_accuracy"],
            "test_accuracy_before_training": before.test_accuracy,
            "trained_epochs": epochs if better else 0,
            "training_seconds": round(after["seconds"], 1),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, which images, where runs lie."""
    parser.add_argument("--model", default="vgg16", choices=("vgg16", "resnet18"))
    parser.add_argument("--stem", default="cifar", choices=("cifar", "imagenet"), help="of resnet18")
    parser.add_argument("--checkpoint", type=Path, help="trained weights; default: shipped, cached or trained now")
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10 as torchvision or as an image folder has it")
    parser.add_argument("--cache-dir", type=Path, help="where data and baselines are kept")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder of the runs, which are resumed")
    parser.add_argument("--search-size", type=int, help="images of the fitness; default: a fifth, at most 2,000")
    parser.add_argument("--epoch-images", type=int, help="of each epoch, drawn anew; default: all training images")


def setting(options: argparse.Namespace, experiment: str, reporter: Reporter) -> Setting:
    """What the command line asks for; with ``--quick`` a small network on the digits."""
    if options.quick:
        work = options.output / f".{experiment}-quick"
        small = {"model": QUICK_NETWORK, "data": "digits", "checkpoint": _quick_checkpoint(work)}
        small |= {"cache_dir": work / "cache", **QUICK_SIZES}
        return Setting("quick", "digits", small, work, reporter)
    named = {"model": options.model, "stem": options.stem, "data": "auto"}
    places = {name: getattr(options, name) for name in ("checkpoint", "data_dir", "cache_dir", "search_size")}
    given = named | {name: value for name, value in places.items() if value is not None}
    stem = "-imagenet" if options.model == "resnet18" and options.stem == "imagenet" else ""
    name = f"{options.model}{stem}"
    work = options.work / f"{experiment}-{name}"
    return Setting(name, "cifar10", given, work, reporter, options.epoch_images)


def _quick_checkpoint(work: Path) -> Path:
    """Weights of the small network after a little training."""
    path = work / "trained.safetensors"
    if not path.exists():
        data = load_data("digits", cache_dir=work / "cache")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = quick_network(len(data.classes))
        recipe = Recipe(epochs=2, batch_size=64, lr=0.1, pad=1)
        fit(model, data.train, data.test, mean=data.mean, std=data.std, flip=data.flip, recipe=recipe)
        work.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), path)
    return path


def members_within(rows: list[FrontRow], rules: Iterable[str]) -> dict[str, FrontRow | None]:
    """By rule the member that it picks, as the search left it; ``None`` where nothing is within the bound."""
    found: dict[str, FrontRow | None] = {}
    for rule in rules:
        try:
            index = pick([row.untrained() for row in rows], rule).index
            (found[rule],) = choose(rows, str(index))
        except OptionError:
            found[rule] = None
    return found


def search_seconds(run: Path) -> float | None:
    """Wall time of a search, start to front, over all sessions; ``None`` where an earlier version kept none."""
    seconds: float | None = read_manifest(run).get(SECONDS)
    return seconds


def markdown(headings: list[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; numbers as they are given."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return tables.markdown(headings, cells, text=len(headings))
