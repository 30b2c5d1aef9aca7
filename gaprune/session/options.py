"""Everything that a search can be told, with defaults; one place for the command and for Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gaprune.cli import differences, option, options_from_record, options_record
from gaprune.data import data_names
from gaprune.errors import OptionError, RunError, choice_error
from gaprune.evaluate import Constraints
from gaprune.evolve import settled_name
from gaprune.prune.compensation import FORMS
from gaprune.runs import check_rule

PLACES = ("backend", "workers", "gpus_per_worker", "max_retries", "ray_address")
"""Options that say where candidates are evaluated, on which results do not depend."""

MAY_CHANGE = ("generations", "pick", "polish", "cache_dir", "data_dir", "checkpoint", *PLACES)
"""Options that a resumed search may be given anew; images and weights are compared by content."""

MAY_CHANGE_WITH_ROUNDS = ("rounds", "pick", "cache_dir", "data_dir", "checkpoint", *PLACES)
"""The same for the paper's rounds: each builds on the one before."""

MAY_CHANGE_WITH_ITERATIONS = ("iterations", "pick", "cache_dir", "data_dir", "checkpoint", *PLACES)
"""The same for iterations."""

SETTLED = ("threads", "device", "round_to", "precision")
"""Options that a run has settled by itself where nobody said; a resumed one keeps what was settled."""

AUTO = "auto"

CHOICES = {
    "search_from": ("auto", "train", "test"),
    "compensation": (*FORMS, "none"),
    "precision": ("auto", "float32", "bfloat16"),
    "backend": ("auto", "local", "ray"),
}

LARGEST_SEED = 2**32 - 1

ROUNDS = "rounds"
"""The algorithm that searches again and again, on the network that the search before left."""

ONLY_WITH_ROUNDS = (
    "rounds",
    "round_generations",
    "round_share",
    "round_epochs",
    "selected",
    "cut",
    "mutation_rate",
)

ONLY_WITH_ITERATIONS = ("iteration_share", "iteration_epochs")

LIMITS_OF_ROUNDS = "--round-share says how much goes, and the loss decides what"

NEVER_WITH_ROUNDS = {
    "generations": "use --rounds and --round-generations",
    "iterations": "rounds search again and again by themselves, see --rounds and --round-epochs",
    "connection_groups": "rounds mask connections one by one",
    "max_flops": LIMITS_OF_ROUNDS,
    "max_params": LIMITS_OF_ROUNDS,
    "max_size": LIMITS_OF_ROUNDS,
    "min_accuracy": LIMITS_OF_ROUNDS,
}
"""Options that say nothing to rounds, each with what would be right."""

POPULATION_OF_ROUNDS = 30
"""The paper's N."""


@dataclass(frozen=True)
class SearchOptions:
    """Search for the accuracy/FLOPs front of a trained network and save it as compact networks."""

    model: str = option("vgg16", "network: vgg16, resnet18, torchvision:NAME, timm:NAME or package.module:factory")
    stem: str = option("cifar", "first layers of resnet18: cifar (3x3) or imagenet (7x7, the paper's)")
    checkpoint: Path | None = option(
        None,
        "trained weights: safetensors, a state dict, or pretrained for torchvision's or timm's own",
        metavar="FILE",
    )
    head: str | None = option(None, "a checkpoint's head of other classes: keep, cut:CLASS_FILE or new (is fitted)")
    data: str = option("auto", "data set: auto, cifar10 or digits")
    data_dir: Path | None = option(None, "CIFAR-10 root or image folder train/<class>/*", metavar="DIR")
    test_share: float = option(0.2, "share of an image folder without test/ that is split off to report on")
    search_from: str = option(
        "auto", "where the search set is held out: train, or test for weights that saw all of train"
    )
    search_size: int | None = option(None, "images that fitness is measured on; none is a fifth, at most 2,000")
    calibration_size: int = option(512, "training images that batch norm is recalibrated on, without labels")
    statistics_size: int | None = option(
        None, "training images for covariances, without labels; none is what is wanted, at most 4,096"
    )
    genes: str = option("neurons", "what may be removed: neurons, connections or both")
    connection_groups: int = option(1, "tie connections into real grouped convolutions of this many groups")
    round_to: int | None = option(None, "kept widths are multiples of this; none is 1 on CPU, 8 on CUDA")
    importance: str = option("obs", "what guides the operators: obs, l2, bn, taylor or random")
    compensation: str = option(
        "taps", "how kept channels stand in for removed ones: over channels x taps, over channels, or none"
    )
    polish: bool = option(False, "re-solve the front's layers in turn against the original's outputs, without training")
    precision: str = option("auto", "of the fitness: float32, bfloat16, or auto where the hardware multiplies it")
    objectives: tuple[str, ...] = option(
        ("accuracy", "flops"), "two or more of accuracy, loss, flops, params, size, package.module:NAME"
    )
    max_flops: float | None = option(
        None, "most FLOPs: up to 1 a share of the original's (0.5 is half), above 1 a count (1e6 is a million)"
    )
    max_params: float | None = option(None, "most parameters, a share or a count likewise")
    max_size: float | None = option(None, "most bytes on disk, a share or a count likewise")
    min_accuracy: float | None = option(None, "least accuracy on the search set, 0 to 1")
    algorithm: str = option(
        "auto",
        "nsga2, nsga3, random, rounds (the paper's), or auto: nsga2 for two objectives, nsga3 for more",
    )
    population: int = option(24, "genomes a generation, 4 or more; rounds take 30 unless told otherwise")
    generations: int = option(10, "generations, the first included")
    iterations: int = option(1, "searches; between two a member is trained on, and the next one prunes that")
    iteration_share: float = option(
        0.5, "with iterations: FLOPs of that member at most, as a share of the network's that was searched"
    )
    iteration_epochs: int = option(10, "with iterations: epochs of that training, with the original as teacher")
    rounds: int = option(5, "with rounds: searches, each on the network that the one before left")
    round_generations: int = option(5, "with rounds: generations of each round, the first included")
    round_share: tuple[float, ...] = option(
        (0.03, 0.52, 0.45, 0.37, 0.27),
        "with rounds: share of the genes that each round removes, the last one for all that follow",
    )
    round_epochs: int = option(0, "with rounds: epochs of training after each round")
    epoch_images: int | None = option(
        None, "with round-epochs or iterations: images of an epoch, drawn anew for each; none is all training images"
    )
    selected: int = option(5, "with rounds: genomes that become parents, best loss first")
    cut: float = option(0.6, "with rounds: where parents are cut, as a share of the chromosome")
    mutation_rate: float = option(0.6, "with rounds: probability that a child is mutated")
    seed: int = option(0, "decides splits, a baseline's training and the whole search")
    device: str = option("auto", "where networks run: auto, cpu or cuda")
    threads: int | None = option(None, "CPU threads of an evaluation; none is torch's own number, and 1 on Ray")
    backend: str = option(
        "auto", "where candidates are evaluated: local, ray, or auto: ray with a cluster's address or several GPUs"
    )
    ray_address: str | None = option(
        None, "cluster: host:port, or auto for this machine's; none is $RAY_ADDRESS, else a Ray of its own"
    )
    workers: int | None = option(None, "Ray workers at most; none is as many as the nodes hold")
    gpus_per_worker: float | None = option(None, "GPUs of a Ray worker, 0.25 puts four on one; none is 1 on CUDA")
    threads_per_worker: int | None = option(None, "another name for --threads, on Ray")
    max_retries: int = option(2, "times that a candidate is tried again when its worker dies")
    batch_size: int = option(256, "images a forward pass")
    pick: str = option("knee", "member to mark: knee, flops<=0.3, params<=0.5 or accuracy>=0.9")
    output: Path | None = option(None, "run directory; none is runs/<model>-<data>-<date>", metavar="DIR")
    resume: Path | None = option(None, "go on with this run", metavar="DIR")
    cache_dir: Path | None = option(
        None, "where data and baselines are kept; none is $GAPRUNE_CACHE or the user's cache folder", metavar="DIR"
    )
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def constraints(self) -> Constraints:
        """What members should keep to; ``OptionError`` for a limit that says nothing."""
        return Constraints(self.max_flops, self.max_params, self.max_size, self.min_accuracy)

    def check(self) -> None:
        """Refuse what cannot be used, before anything is read or written.

        Raises:
            OptionError: one line that names the option, the rule and the value.
        """
        for name, least in (
            ("population", 4),
            ("generations", 1),
            ("iterations", 1),
            ("iteration_epochs", 1),
            ("rounds", 1),
            ("round_generations", 1),
            ("round_epochs", 0),
            ("calibration_size", 1),
            ("batch_size", 1),
            ("seed", 0),
            ("max_retries", 0),
        ):
            _check_least(name, getattr(self, name), least)
        for name in (
            "search_size",
            "statistics_size",
            "round_to",
            "threads",
            "workers",
            "threads_per_worker",
        ):
            if getattr(self, name) is not None:
                _check_least(name, getattr(self, name), 1)
        if self.epoch_images is not None:
            _check_least("epoch_images", self.epoch_images, 2)
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise choice_error(name.replace("_", "-"), getattr(self, name), valid)
        if self.seed > LARGEST_SEED:
            raise OptionError(f"seed must be at most {LARGEST_SEED}, got {self.seed}")
        check_rule(self.pick)
        _ = self.constraints
        self._check_rounds()
        self._check_iterations()

    def _check_rounds(self) -> None:
        """What only the paper's rounds understand, and what they do not."""
        if self.algorithm != ROUNDS:
            for name in ONLY_WITH_ROUNDS:
                if name in self.given:
                    flag = name.replace("_", "-")
                    raise OptionError(f"{flag} has no meaning with --algorithm {self.algorithm}: it is for rounds")
            return
        for name, advice in NEVER_WITH_ROUNDS.items():
            if name in self.given:
                raise OptionError(f"{name.replace('_', '-')} has no meaning with --algorithm rounds: {advice}")
        _check_least("selected", self.selected, 2)
        if self.selected > self.population:
            raise OptionError(f"selected must be at most the population of {self.population}, got {self.selected}")
        if not isinstance(self.round_share, tuple) or not self.round_share:
            raise OptionError(f"round-share must be one share or more, got {self.round_share!r}")
        for share in self.round_share:
            _check_share("round-share", share)
        if max(self.round_share) == 1:
            raise OptionError("round-share must be below 1, got 1")
        _check_share("cut", self.cut)
        _check_share("mutation-rate", self.mutation_rate)

    def _check_iterations(self) -> None:
        """What only several iterations understand, and what they do not."""
        _check_share("iteration-share", self.iteration_share)
        if not 0 < self.iteration_share < 1:
            raise OptionError(f"iteration-share must be between 0 and 1, got {self.iteration_share}")
        if self.iterations == 1 and self.resume is None:
            for name in ONLY_WITH_ITERATIONS:
                if name in self.given:
                    raise OptionError(f"{name.replace('_', '-')} says nothing to a single search: add --iterations 2")
            if "epoch_images" in self.given and not self.round_epochs:
                raise OptionError("epoch-images says nothing where nothing is trained: add round-epochs or iterations")
        if self.iterations > 1 and self.connection_groups > 1:
            raise OptionError("iterations cannot prune networks with grouped convolutions again: leave one of them out")


def _check_least(name: str, value: object, least: int) -> None:
    if not isinstance(value, int):
        raise OptionError(f"{name.replace('_', '-')} must be a whole number, got {value!r}")
    if value < least:
        raise OptionError(f"{name.replace('_', '-')} must be at least {least}, got {value}")


def _check_share(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise OptionError(f"{name} must be 0 to 1, got {value!r}")


def settled(options: SearchOptions) -> SearchOptions:
    """The options of a new run, with the defaults that depend on the algorithm."""
    changes: dict[str, Any] = {}
    if options.algorithm == ROUNDS:
        if "population" not in options.given:
            changes["population"] = POPULATION_OF_ROUNDS
        if "selected" not in options.given:
            changes["selected"] = max(min(options.selected, options.population), 2)
        if "objectives" not in options.given:
            changes["objectives"] = ("loss",)
    return replace(options, **changes)


def record(options: SearchOptions) -> dict[str, Any]:
    """The options as JSON values for the manifest."""
    kept = options_record(options)
    kept.pop("resume")
    return kept


def resumed_options(given: SearchOptions, manifest: dict[str, Any]) -> SearchOptions:
    """The options of a run, with those given anew on resume that may change.

    Args:
        given: what was typed; ``given.given`` names the options that count.
        manifest: the run's.

    Raises:
        OptionError: an option differs that may not change; the message shows the difference.
        RunError: the manifest's options are not understood.
    """
    saved, settled, typed = manifest.get("options"), manifest.get("identity"), options_record(given)
    if not isinstance(saved, dict) or not isinstance(settled, dict) or not set(SETTLED) <= set(settled):
        raise RunError(f"the manifest of {given.resume} has no options: it is no run of this version")
    saved = with_known_data({**saved, **{name: settled[name] for name in SETTLED}}, manifest)
    changed = {name: typed[name] for name in typed if name in given.given and name != "resume"}
    may_change = _may_change(saved)
    refused = {name: value for name, value in changed.items() if name not in may_change}
    before = {**saved, "threads_per_worker": settled["threads"]}
    if "algorithm" in refused:  # by its own name is the same as auto
        count = len(manifest.get("objectives", saved["objectives"]))
        if settled_name(refused["algorithm"], count) == settled_name(before["algorithm"], count):
            del refused["algorithm"]
    if refused.get("data") == AUTO:  # which is what the run has made of it
        del refused["data"]
    apart = differences({name: before.get(name) for name in refused}, refused)
    if apart:
        raise OptionError(f"cannot change on resume: {'; '.join(apart)} (leave it out, or start a new run)")
    if saved.get("iterations", 1) > 1 and changed.get("iterations") == 1:
        raise OptionError(f"iterations must be at least 2 on resume: {given.resume} is a run of several")
    merged = {**saved, **{name: value for name, value in changed.items() if name in may_change}}
    merged["resume"] = str(given.resume)
    return replace(options_from_record(SearchOptions, merged), given=given.given & set(PLACES))


def with_known_data(saved: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded options with the data set that ``auto`` was, which may be another at another time or place.

    Args:
        saved: options as JSON values.
        manifest: of the run or comparison that they are of.
    """
    name = manifest.get("data", {}).get("name")
    if saved.get("data") != AUTO or saved.get("data_dir") is not None or name not in data_names():
        return saved
    return saved if manifest.get("objects", {}).get("data") else {**saved, "data": name}


def _may_change(saved: dict[str, Any]) -> tuple[str, ...]:
    if saved.get("algorithm") == ROUNDS:
        return MAY_CHANGE_WITH_ROUNDS
    return MAY_CHANGE if saved.get("iterations", 1) == 1 else MAY_CHANGE_WITH_ITERATIONS
