"""Which short training gives a pruned network most: one number of the recipe changed at a time.

Claim: the default of ``python -m gaprune.finetune`` is, for a network that is compensated and polished (and so begins
near a solution), not behind any single change of it, and no member is worse after it than before.

How. The ladder's networks of ResNet18, compensated and polished, are trained for a few thousand images with the
original as teacher, each change from the same seeds. What is chosen is chosen at 10% of the FLOPs by the search images;
test images report, paired by image with the default of the same seed. The best changes together, each with a lead by
the search images, are one more row; it and the default are then trained at the other budgets.

    python benchmarks/recipes.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.harness import DONE, Goal, are_shares, at_least, run
from benchmarks.oneshot import Bench
from benchmarks.paired import difference, unpacked
from benchmarks.pretrained import Own
from benchmarks.search_bench import right
from benchmarks.subjects import Subject, WorkFile, add_arguments, code_digest, load_subject
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.cut.masks import Masks
from gaprune.prune.norms.folding import fold
from gaprune.prune.norms.restating import restate_norms
from gaprune.training import Distillation, Recipe, fit, gentler
from gaprune.training.lesson import Batch
from gaprune.training.subject import default_recipe

SCREENED = 0.1
"""Share of the FLOPs at which every change is tried."""

BUDGETS = (0.5, 0.25)
POLISH_IMAGES = 2_048
QUICK = {"epochs": 1, "epoch_images": 64, "seeds": 2, "polish_images": 64, "budgets": (0.5,), "screened": 0.25}

DEFAULT, TOGETHER = "default", "the best together"
WORSE, BEHIND = "points lost by the default training, most over budgets", "behind the best single change, test images"
GOALS = (Goal(WORSE, "<=", 0.0, "points, mean of seeds"), Goal(BEHIND, "<=", 0.3, "points, mean of seeds"))

Row = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """What is other than by default.

    Attributes:
        recipe: numbers of the recipe.
        rate: peak learning rate, as a multiple of the default's.
        lesson: numbers of the distillation.
        frozen: whether batch norms keep their statistics and answer by them while they train.
        features: weight of the distance from the original's features at the ends of residual blocks.
    """

    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    rate: float = 1.0
    lesson: dict[str, float] = dataclasses.field(default_factory=dict)
    frozen: bool = False
    features: float = 0.0

    def __or__(self, other: Change) -> Change:
        return Change(
            self.recipe | other.recipe,
            self.rate * other.rate,
            self.lesson | other.lesson,
            self.frozen or other.frozen,
            max(self.features, other.features),
        )


KINDS: dict[str, dict[str, Change]] = {
    "peak learning rate": {
        "a quarter": Change(rate=0.25),
        "half": Change(rate=0.5),
        "twice": Change(rate=2.0),
        "five times": Change(rate=5.0),
    },
    "batch": {
        "64, same rate": Change({"batch_size": 64}),
        "64, half the rate": Change({"batch_size": 64}, rate=0.5),
    },
    "warm-up": {"a twentieth": Change({"warm_up": 0.05})},
    "distillation": {
        "labels alone": Change(lesson={"weight": 0.0}),
        "no labels": Change(lesson={"weight": 1.0}),
    },
    "temperature": {"1": Change(lesson={"temperature": 1.0})},
    "label smoothing": {"none": Change({"label_smoothing": 0.0})},
    "averaging": {"0.99": Change({"ema_decay": 0.99})},
    "batch norm": {"frozen": Change(frozen=True)},
    "features": {"weight 1": Change(features=1.0)},
}
"""By what is changed: names and changes."""

QUICK_KINDS = ("peak learning rate", "batch norm", "features")


@dataclass(frozen=True)
class Teaching(Distillation):
    """Distillation with batch norms frozen, or with the original's features as a second aim.

    Attributes:
        frozen: see ``Change``.
        features: see ``Change``.
        kept: by block the channels of the original's output that the network has.
    """

    frozen: bool = False
    features: float = 0.0
    kept: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """See ``Lesson``."""
        if self.frozen:
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if not self.features:
            return super().loss(model, batch)
        with _watched(model, self.kept) as ours, _watched(self.teacher, self.kept) as theirs:
            found = super().loss(model, batch)
        return found + self.features * sum(self._apart(ours[name], theirs[name], name) for name in self.kept)

    def _apart(self, ours: Tensor, theirs: Tensor, name: str) -> Tensor:
        """Squared distance, as a share of the square of the original's."""
        wanted = theirs[:, self.kept[name]].float()
        return F.mse_loss(ours.float(), wanted) / wanted.square().mean() / len(self.kept)

    def description(self) -> dict[str, Any]:
        """See ``Lesson``."""
        return super().description() | {"frozen": self.frozen, "features": self.features}


@contextmanager
def _watched(model: nn.Module, names: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The outputs of modules, by name, of the passes meanwhile."""
    found: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
        for name in names
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class Trainings:
    """The same network trained in many ways.

    Args:
        subject: the original and its images.
        own: makes the pruned networks.
        work: rows of an earlier, killed run.
        settings: numbers of the run.
        reporter: told how it goes.
    """

    def __init__(self, subject: Subject, own: Own, work: WorkFile, settings: Row, reporter: Reporter) -> None:
        teacher = copy.deepcopy(subject.model).eval().requires_grad_(False)
        fold(teacher, subject.graph.norms)
        self._teacher = teacher.to(memory_format=torch.channels_last)
        self._subject, self._own, self._work = subject, own, work
        self._settings, self._reporter = settings, reporter
        usual = default_recipe(subject.model, subject.data, subject.device)
        numbers = {name: settings[name] for name in ("epochs", "epoch_images")}
        self.recipe: Recipe = dataclasses.replace(usual, lr=gentler(subject.model) * usual.lr, **numbers)

    def before(self, budget: float) -> Row:
        """The network as it is handed out."""
        return dict(self._work.row(f"before {budget}", lambda: self._measured(self._made(budget))))

    def __call__(self, name: str, change: Change, budget: float, seed: int) -> Row:
        """One training."""
        make = functools.partial(self._trained, change, budget, seed)
        return {"change": name, "budget": budget, "seed": seed, **self._work.row(f"{name} {budget} {seed}", make)}

    def _trained(self, change: Change, budget: float, seed: int) -> Row:
        subject, network = self._subject, self._made(budget)
        recipe = dataclasses.replace(self.recipe, seed=seed, lr=change.rate * self.recipe.lr, **change.recipe)
        lesson = Teaching(
            self._teacher,
            **change.lesson,
            frozen=change.frozen,
            features=change.features,
            kept=self._kept(network, budget) if change.features else {},
        )
        restate_norms(network, subject.recalibration, *subject.norm)  # as the engine does before any training
        records = fit(
            network.requires_grad_(True),
            subject.splits.train,
            subject.splits.search,
            mean=subject.data.mean,
            std=subject.data.std,
            flip=subject.data.flip,
            recipe=recipe,
            lesson=lesson,
        )
        return {**self._measured(network.eval()), "seconds": round(sum(record.seconds for record in records), 1)}

    def _made(self, budget: float) -> nn.Module:
        return copy.deepcopy(self._networks(budget))

    @functools.cache  # noqa: B019 - as long as the benchmark runs
    def _networks(self, budget: float) -> nn.Module:
        return self._own.ways(budget)["polished"]()

    def _kept(self, network: nn.Module, budget: float) -> dict[str, Tensor]:
        """By residual block, told by its last convolution, the channels that are left of its output."""
        masks: Masks = self._own.ladder(budget)
        ends = {}
        for layer in self._subject.graph.layers:
            block, _, _ = layer.name.rpartition(".")
            neurons = layer.outputs.reshape(len(layer.outputs), -1)[:, 0]
            if block and not layer.name.endswith("downsample.0"):
                ends[block] = torch.from_numpy(masks.neurons[neurons].nonzero()[0]).to(self._subject.device)
        return ends

    def _measured(self, network: nn.Module) -> Row:
        splits = self._subject.splits
        return {part: right(network, getattr(splits, part), self._subject) for part in ("search", "test")}


@dataclass(frozen=True)
class Told:
    """How many images the rows are of."""

    search: int
    test: int

    def lead(self, ours: Row, theirs: Row, part: str) -> float:
        """By how many points one row is ahead of another on the search or the test images."""
        count = getattr(self, part)
        return float(difference(unpacked(ours[part], count), unpacked(theirs[part], count))["points"])

    def accuracy(self, row: Row, part: str) -> float:
        """Top-1, 0 to 1."""
        return float(unpacked(row[part], getattr(self, part)).mean())

    def line(self, rows: Sequence[Row], defaults: Sequence[Row], before: Row) -> Row:
        """A change's seeds in one line: test accuracy, and points over the default and over the untrained network."""
        leads = {
            part: [self.lead(a, b, part) for a, b in zip(rows, defaults, strict=True)] for part in ("search", "test")
        }
        gained = [self.lead(row, before, "test") for row in rows]
        return {
            "change": rows[0]["change"],
            "budget": rows[0]["budget"],
            "seeds": len(rows),
            "test": round(statistics.mean(self.accuracy(row, "test") for row in rows), 4),
            "over the default, search": _spread(leads["search"]),
            "over the default, test": _spread(leads["test"]),
            "over the network before, test": _spread(gained),
            "seconds": round(statistics.mean(row["seconds"] for row in rows), 1),
        }


def _spread(values: Sequence[float]) -> Row:
    return {"mean": round(statistics.mean(values), 3), "least": min(values), "most": max(values)}


def together(lines: Sequence[Row], kinds: dict[str, dict[str, Change]]) -> tuple[list[str], Change]:
    """Of each kind the change with the largest lead by the search images, if it leads in every seed; all in one."""
    leads = {line["change"]: line["over the default, search"] for line in lines}
    names, change = [], Change()
    for kind, changes in kinds.items():
        best = max(changes, key=lambda name: leads[f"{kind}: {name}"]["mean"])
        if leads[f"{kind}: {best}"]["least"] > 0:
            names.append(f"{kind}: {best}")
            change |= changes[best]
    return names, change


def figures_of(lines: Sequence[Row], screened: float) -> dict[str, float]:
    """What the goals speak of."""
    lost = [-line["over the network before, test"]["mean"] for line in lines if line["change"] == DEFAULT]
    leads = [
        line["over the default, test"]["mean"]
        for line in lines
        if line["budget"] == screened and line["change"] not in (DEFAULT, TOGETHER)
    ]
    return {WORSE: round(max(lost), 3), BEHIND: round(max(leads), 3)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every change at one budget; the default and the best together at the others."""
    at_least(options, epochs=1, epoch_images=2, seeds=1)
    are_shares(options, "budgets")
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    asked = (options.epochs, options.epoch_images, options.seeds, POLISH_IMAGES, tuple(options.budgets), SCREENED)
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else asked, strict=True))
    kinds = {kind: KINDS[kind] for kind in QUICK_KINDS} if options.quick else KINDS
    numbers = {name: settings[name] for name in ("epochs", "epoch_images", "polish_images")}
    kept = subject.identity | numbers | {"code": code_digest("training") + code_digest("prune")}
    work = WorkFile(options.output / f".recipes-{subject.name}.jsonl", kept)
    own = Own(Bench(subject, work, []), settings["polish_images"], reporter)
    trainings = Trainings(subject, own, work, settings, reporter)
    told = Told(len(subject.splits.search), len(subject.splits.test))
    lines, names = _all_lines(trainings, told, kinds, settings, reporter)
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "recipe": trainings.recipe.record()},
        "test_images": told.test,
        "figures": figures_of(lines, settings["screened"]),
        "together": names,
        "before": {f"{b:.0%}": round(told.accuracy(trainings.before(b), "test"), 4) for b in _budgets(settings)},
        "rows": lines,
    }


def _budgets(settings: Row) -> tuple[float, ...]:
    return (settings["screened"], *settings["budgets"])


def _all_lines(
    trainings: Trainings, told: Told, kinds: dict[str, dict[str, Change]], settings: Row, reporter: Reporter
) -> tuple[list[Row], list[str]]:
    screened, seeds = settings["screened"], range(settings["seeds"])
    changes = {f"{kind}: {name}": change for kind, several in kinds.items() for name, change in several.items()}
    lines: list[Row] = []
    total = len(seeds) * (len(changes) + 2 + 2 * len(settings["budgets"]))
    with reporter.task("trainings", total) as task:

        def rows_of(name: str, change: Change, budget: float) -> list[Row]:
            found = []
            for seed in seeds:
                found.append(trainings(name, change, budget, seed))
                task.advance(1, change=name)
            return found

        before, defaults = trainings.before(screened), rows_of(DEFAULT, Change(), screened)
        lines.append(told.line(defaults, defaults, before))
        for name, change in changes.items():
            lines.append(told.line(rows_of(name, change, screened), defaults, before))
        names, best = together(lines[1:], kinds)
        joined = _joined(names)
        lines.append(told.line(rows_of(joined, best, screened), defaults, before) | {"change": TOGETHER})
        for budget in settings["budgets"]:
            before, defaults = trainings.before(budget), rows_of(DEFAULT, Change(), budget)
            lines.append(told.line(defaults, defaults, before))
            lines.append(told.line(rows_of(joined, best, budget), defaults, before) | {"change": TOGETHER})
    return lines, names


def _joined(names: Sequence[str]) -> str:
    return f"{TOGETHER}: {', '.join(names)}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, how much training, how many seeds."""
    add_arguments(parser)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--epoch-images", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=BUDGETS, help="after the first, shares of the FLOPs"
    )


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
