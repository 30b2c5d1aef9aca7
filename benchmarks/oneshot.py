"""Accuracy right after pruning, without any training: gaprune against Torch-Pruning, uniform L2 and random masks.

Claim: with removed channels compensated for in closed form and the layers polished, a network keeps its accuracy at
budgets where the peer's settings lose most of it. All sides start from one checkpoint and are held to the same share of
the FLOPs (fvcore, compact network, one image); convolutions run in the same precision for all. BN marks batch norm
recalibrated on the same calibration images, which Torch-Pruning does not do itself: a courtesy. Ours is anchored; the
peer's is recalibrated plainly and anchored, and both are rows.

How the numbers are chosen. Each of the peer's settings (criterion x scope) is brought to each budget and measured on a
fixed 1,000 test images, as it comes and with BN in both ways; the best of each kind is measured on all test images. So
the peer's best is picked by test accuracy, which favours it. Between gaprune's own rows the search set picks, never a
test image. The shipped VGG16 has seen all training images: its search set is held out of the test images, and reports
come from the rest.

    pip install torch-pruning==1.6.1
    python benchmarks/oneshot.py --data-dir DIR
    python benchmarks/oneshot.py --data-dir DIR --model resnet18 --stem imagenet --checkpoint FILE
"""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import json
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, run
from benchmarks.subjects import (
    SEED,
    Subject,
    WorkFile,
    add_arguments,
    code_digest,
    fixed_sample,
    load_subject,
    study,
    widest_within,
)
from benchmarks.torch_pruning_peer import (
    GRADIENT_IMAGES,
    SCOPES,
    TOLERANCE,
    Criterion,
    Planner,
    Scores,
    criteria,
    pruned,
    score,
)
from gaprune import load
from gaprune.data import first
from gaprune.errors import RunError, first_line
from gaprune.genome import Floats
from gaprune.progress import Reporter, Task, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.cut.compact import Compactor
from gaprune.prune.cut.costs import count_flops
from gaprune.prune.cut.masks import Masks
from gaprune.prune.rank.importance import l2
from gaprune.runs import best_of
from gaprune.runs.front import FrontRow, read_csv

BUDGETS = (0.70, 0.50, 0.25, 0.10, 0.05, 0.03)
DEEP = 0.25
SWEEP_IMAGES = 1_000
POLISH_IMAGES = 2_000
RANDOM_SEEDS = 3
QUICK_BUDGETS = (0.5, 0.25)
QUICK_POLISH_IMAGES = 64
QUICK_CRITERIA = ("L2 norm", "Taylor")

PEER, UNIFORM, RANDOM, OURS = "Torch-Pruning", "uniform L2", "random masks", "gaprune"

AHEAD = "ahead of the peer's best, least over budgets"
FAR_AHEAD = "ahead of the peer's best with BN, least over budgets up to 25%"

GOALS = (
    Goal("vgg16: loss at 50%", "<=", 0.0, "points"),
    Goal("vgg16: loss at 25%", "<=", 1.0, "points"),
    Goal("vgg16: loss at 10%", "<=", 4.0, "points"),
    Goal("vgg16: loss at 5%", "<=", 6.0, "points"),
    Goal(f"vgg16: {AHEAD}", ">=", 0.01, "points"),
    Goal(f"vgg16: {FAR_AHEAD}", ">=", 25.0, "points"),
    Goal("resnet18: loss at 50%", "<=", 1.0, "points"),
    Goal("resnet18: loss at 25%", "<=", 4.0, "points"),
    Goal("resnet18: loss at 10%", "<=", 10.0, "points"),
    Goal(f"resnet18: {AHEAD}", ">=", 0.01, "points"),
    Goal(f"resnet18: {FAR_AHEAD}", ">=", 25.0, "points"),
)

AS_IT_COMES, BN, ANCHORED = "as it comes", "BN", "BN, anchored"
PEER_VARIANTS = (AS_IT_COMES, BN, ANCHORED)
RECALIBRATED = (BN, ANCHORED)
"""How the peer's networks are recalibrated: as its own users do, and as ours are."""

Row = dict[str, Any]


class Bench:
    """One subject under measurement: what every side shares.

    Args:
        subject: the network.
        work: rows of an earlier, killed run.
        chosen: the peer's criteria.
    """

    def __init__(self, subject: Subject, work: WorkFile, chosen: Iterable[Criterion]) -> None:
        self.subject = subject
        self.work = work
        self.criteria = {criterion.name: criterion for criterion in chosen}
        self._scores: dict[str, Scores] = {}
        self.sweep = fixed_sample(subject.splits.test, SWEEP_IMAGES)

    def scores(self, criterion: str) -> Scores:
        """The scores of one of the peer's criteria, computed once."""
        if criterion not in self._scores:
            self._scores[criterion] = score(self.subject, self.criteria[criterion])
        return self._scores[criterion]

    def row(self, network: nn.Module, method: str, variant: str, budget: float) -> Row:
        """A row of one network, all test images; the search set too, which choices rest on."""
        accuracy, splits = self.subject.accuracy, self.subject.splits
        row = {"method": method, "variant": variant, "budget": budget, **self.cost(network)}
        return {
            **row,
            "search_accuracy": accuracy(network, splits.search),
            "test_accuracy": accuracy(network, splits.test),
        }

    def cost(self, network: nn.Module) -> Row:
        """What fvcore counts, and the parameters."""
        flops = count_flops(network, self.subject.data.image_shape)
        params = sum(parameter.numel() for parameter in network.parameters())
        return {"flops_share": flops / self.subject.flops(), "params": params}


def peer_sweep(bench: Bench, budgets: tuple[float, ...], task: Task) -> list[Row]:
    """Every setting of the peer at every budget, on the sweep's test images; where one fails, why."""
    rows: list[Row] = []
    for criterion, scope in itertools.product(bench.criteria, SCOPES):
        key = f"{criterion} {scope} {list(budgets)} {len(PEER_VARIANTS)} ways"
        rows += bench.work.row(key, functools.partial(_setting, bench, criterion, scope, budgets))
        task.advance(1, setting=f"{criterion}, {scope}")
    return rows


def _setting(bench: Bench, criterion: str, scope: str, budgets: tuple[float, ...]) -> list[Row]:
    named = {"method": PEER, "criterion": criterion, "scope": scope}
    try:
        scores = bench.scores(criterion)
        planner = Planner(bench.subject, scores, scope)
        return [named | _at_budget(bench, scores, planner, scope, budget) for budget in budgets]
    except Exception as error:  # whatever the package raises is the finding
        failure = f"{type(error).__name__}: {first_line(error)}"
        return [named | {"budget": budget, "failure": failure} for budget in budgets]


def _at_budget(bench: Bench, scores: Scores, planner: Planner, scope: str, budget: float) -> Row:
    ratio = planner.ratio(budget)
    if ratio is None:
        return {"budget": budget, "failure": "no ratio gets down to this budget: it leaves collapsing layers whole"}
    network = pruned(bench.subject, scores, scope, ratio)
    cost = bench.cost(network)
    masks = planner.masks(ratio)
    found = {
        way: bench.subject.accuracy(settled(bench.subject, network, masks, way), bench.sweep) for way in PEER_VARIANTS
    }
    reached = cost["flops_share"] >= (1 - TOLERANCE) * budget
    return {
        "budget": budget,
        "ratio": ratio,
        **cost,
        "within_3_percent": bool(reached),
        "sweep_accuracy": found,
    }


def settled(subject: Subject, cut: nn.Module, masks: Masks, way: str) -> nn.Module:
    """A copy of the peer's network, its batch norm as it comes, recalibrated plainly, or as ours is (anchored)."""
    network = copy.deepcopy(cut)
    if way == AS_IT_COMES:
        return network
    return subject.recalibrate(network, masks if way == ANCHORED else None)


def peer_network(bench: Bench, setting: Row, way: str) -> nn.Module:
    """The network of one row of the sweep, in one of the ways."""
    scores = bench.scores(setting["criterion"])
    cut = pruned(bench.subject, scores, setting["scope"], setting["ratio"])
    masks = Planner(bench.subject, scores, setting["scope"]).masks(setting["ratio"])
    return settled(bench.subject, cut, masks, way)


def peer_best(bench: Bench, sweep: list[Row], budgets: tuple[float, ...]) -> list[Row]:
    """The peer's best setting of each budget in each of the ways, on all test images."""
    rows = []
    for budget, variant in itertools.product(budgets, PEER_VARIANTS):
        done = [row for row in sweep if row["budget"] == budget and "sweep_accuracy" in row]
        if done:
            best = max(done, key=lambda row: row["sweep_accuracy"][variant])
            make = functools.partial(_whole, bench, best, variant)
            rows.append(bench.work.row(f"best {variant} {budget}", make))
    return rows


def _whole(bench: Bench, setting: Row, variant: str) -> Row:
    row = bench.row(peer_network(bench, setting, variant), PEER, variant, setting["budget"])
    return row | {"criterion": setting["criterion"], "scope": setting["scope"]}


class Own:
    """Our rows: masks, and what makes up for what they remove.

    Args:
        bench: the subject.
        polish_images: calibration images that layers are polished on.
        reporter: told of the preparations.
    """

    def __init__(self, bench: Bench, polish_images: int, reporter: Reporter) -> None:
        subject = bench.subject
        self._bench = bench
        self._code = code_digest()
        statistics, self._space = study(subject, reporter)
        self._compact = Compactor(subject.model, subject.graph)
        self._compensators = {
            form: Compensator(subject.model, subject.graph, statistics, form=form) for form in ("channels", "taps")
        }
        images = first(subject.splits.calibration, polish_images)
        with reporter.task("targets of the polish", len(images)) as task:
            self._polisher = Polisher(subject.model, subject.graph, images, *subject.norm, advance=task.advance)

    def rows(self, budget: float, task: Task) -> list[Row]:
        """All of our rows at one budget; the polished one takes the best of three by the search set."""
        ladder = self._ladder(budget)
        makers: dict[tuple[str, str], Callable[[], Row]] = {
            (UNIFORM, "BN"): lambda: self._recalibrated(self._uniform(budget), None, UNIFORM, budget),
            (UNIFORM, "taps, BN"): lambda: self._recalibrated(self._uniform(budget), "taps", UNIFORM, budget),
            (OURS, "ladder, BN"): lambda: self._recalibrated(ladder, None, OURS, budget),
            (OURS, "ladder, channels, BN"): lambda: self._recalibrated(ladder, "channels", OURS, budget),
            (OURS, "ladder, taps, BN"): lambda: self._recalibrated(ladder, "taps", OURS, budget),
            (OURS, "ladder, polish"): lambda: self._polished(ladder, budget),
        }
        for seed in range(RANDOM_SEEDS):
            makers[RANDOM, f"seed {seed}, BN"] = lambda seed=seed: self._random(budget, seed)
        rows = []
        for (method, variant), make in makers.items():
            row = self._bench.work.row(f"{method}, {variant}, {budget}, {self._code}", make)
            rows.append(row | {"variant": variant})
            task.advance(1, row=f"{method}, {variant}", accuracy=f"{row['test_accuracy']:.3f}")
        return rows

    def _ladder(self, budget: float) -> Masks:
        return widest_within(self._bench.subject, budget, self._space.worth.neurons, self._space.shares)

    def _uniform(self, budget: float) -> Masks:
        worth = l2(self._bench.subject.model, self._bench.subject.graph).neurons
        return self._even(budget, worth)

    def _random(self, budget: float, seed: int) -> Row:
        worth = np.random.default_rng(SEED + seed).random(self._bench.subject.graph.neurons)
        return self._recalibrated(self._even(budget, worth), None, RANDOM, budget)

    def _even(self, budget: float, worth: Floats) -> Masks:
        groups = len(self._bench.subject.graph.groups)
        return widest_within(self._bench.subject, budget, worth, lambda level: np.full(groups, level))

    def _network(self, masks: Masks, form: str | None) -> nn.Module:
        return self._compact(masks, None if form is None else self._compensators[form](masks))

    def _recalibrated(self, masks: Masks, form: str | None, method: str, budget: float) -> Row:
        network = self._bench.subject.recalibrate(self._network(masks, form), masks)
        return self._bench.row(network, method, form or "BN", budget)

    def _polished(self, masks: Masks, budget: float) -> Row:
        subject, network = self._bench.subject, self._network(masks, "taps")
        self._polisher(network, masks)
        makes: dict[str, Callable[[], nn.Module]] = {
            "polished": lambda: network,
            "polished, BN": lambda: subject.recalibrate(network, masks),
            "taps, BN": lambda: subject.recalibrate(self._network(masks, "taps"), masks),
        }
        made = {name: self._bench.row(make(), OURS, name, budget) for name, make in makes.items()}
        kept = max(made, key=lambda name: made[name]["search_accuracy"])
        return made[kept] | {"kept_by_search_set": kept}


def members(bench: Bench, run_directory: Path, budgets: tuple[float, ...]) -> list[Row]:
    """From a finished search the member of best search accuracy within each budget, on our test images.

    Raises:
        RunError: the search looked at other images than ours, perhaps at our test images.
    """
    manifest = json.loads((run_directory / "manifest.json").read_text())
    searched, ours = manifest["data"]["splits"]["search"], bench.subject.splits.record["search"]
    if searched != ours:
        raise RunError(f"{run_directory.name} was searched on other images ({searched}) than this benchmark's ({ours})")
    front = read_csv(run_directory / "front.csv")
    rows = []
    for budget in budgets:
        within = [row for row in front if row.flops_share <= budget]
        if within:
            best = best_of(within, front)
            rows.append(
                bench.work.row(f"member {budget}", lambda b=best, x=budget: _member(bench, run_directory, b, x))
            )
    return rows


def _member(bench: Bench, run_directory: Path, row: FrontRow, budget: float) -> Row:
    network = load(run_directory / row.path).to(bench.subject.device)
    return bench.row(network, OURS, "search", budget) | {"member": row.index}


def figures_of(network: str, original: float, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of, in points: gaprune's row of each budget is picked by the search set."""
    figures: dict[str, float] = {}
    ahead, far_ahead = [], []
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        here = [row for row in rows if row["budget"] == budget]
        own = max((row for row in here if row["method"] == OURS), key=lambda row: row["search_accuracy"])
        reached = own["test_accuracy"]
        figures[f"{network}: loss at {budget:.0%}"] = round(100 * (original - reached), 4)
        peers = {row["variant"]: row["test_accuracy"] for row in here if row["method"] == PEER}
        if peers:
            ahead.append(100 * (reached - max(peers.values())))
            if budget <= DEEP:
                recalibrated = [peers[way] for way in RECALIBRATED if way in peers]
                far_ahead.append(100 * (reached - max(recalibrated)))
    for name, margins in ((AHEAD, ahead), (FAR_AHEAD, far_ahead)):
        if margins:
            figures[f"{network}: {name}"] = round(min(margins), 4)
    return figures


def draw(path: Path, original: float, rows: list[Row], title: str) -> None:
    """Accuracy against FLOPs left, our curves and the peer's best ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {
        "gaprune: ladder, polish": (OURS, "ladder, polish", "o-", "tab:blue"),
        "gaprune: ladder, taps": (OURS, "ladder, taps, BN", "o--", "tab:blue"),
        "gaprune: search": (OURS, "search", "*-", "tab:red"),
        "uniform L2, compensated": (UNIFORM, "taps, BN", "s--", "tab:green"),
        "Torch-Pruning, best setting + BN": (PEER, "BN", "^-", "tab:orange"),
        "Torch-Pruning, best setting + anchored BN": (PEER, ANCHORED, "^--", "tab:orange"),
        "Torch-Pruning, best setting": (PEER, "as it comes", "v-", "tab:gray"),
        "random masks + BN": (RANDOM, "seed 0, BN", "x:", "black"),
    }
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(100 * original, color="black", linewidth=0.8, label="original")
    for label, (method, variant, style, colour) in curves.items():
        found = [row for row in rows if (row["method"], row["variant"]) == (method, variant)]
        if found:
            x, y = zip(*((100 * row["flops_share"], 100 * row["test_accuracy"]) for row in found), strict=True)
            axes.plot(x, y, style, color=colour, label=label, markersize=5)
    axes.set_xscale("log")
    ticks = sorted({round(100 * row["budget"]) for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="FLOPs left, % (log)", ylabel="test accuracy, %, no training after pruning", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of one subject."""
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    budgets = QUICK_BUDGETS if options.quick else BUDGETS
    chosen = [criterion for criterion in criteria() if not options.quick or criterion.name in QUICK_CRITERIA]
    polish_images = QUICK_POLISH_IMAGES if options.quick else POLISH_IMAGES
    identity = subject.identity | {"budgets": list(budgets), "polish_images": polish_images}
    work = WorkFile(options.output / f".oneshot-{subject.name}.jsonl", identity)
    bench = Bench(subject, work, chosen)
    original = work.row("original", lambda: bench.row(subject.model, "original", "", 1.0))
    reporter.say(f"original: {original['test_accuracy']:.4f} on {len(subject.splits.test):,} test images")
    with reporter.task("Torch-Pruning", len(chosen) * len(SCOPES)) as task:
        sweep = peer_sweep(bench, budgets, task)
    reporter.say("Torch-Pruning's best settings on all test images")
    rows = peer_best(bench, sweep, budgets)
    own = Own(bench, polish_images, reporter)
    with reporter.task("gaprune and controls", (6 + RANDOM_SEEDS) * len(budgets)) as task:
        rows += [row for budget in budgets for row in own.rows(budget, task)]
    if options.run is not None:
        rows += members(bench, options.run, budgets)
    suffix = "-quick" if options.quick else ""
    picture = options.output / f"oneshot-{subject.name}-{subject.device.type}{suffix}.png"
    draw(picture, original["test_accuracy"], rows, f"{subject.name}: accuracy right after pruning")
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": _settings(subject, budgets, polish_images),
        "figures": figures_of(subject.network, original["test_accuracy"], rows),
        "original": original,
        "rows": rows,
        "peer_sweep": sweep,
    }


def _settings(subject: Subject, budgets: tuple[float, ...], polish_images: int) -> dict[str, Any]:
    splits = subject.splits
    return {
        "network": subject.identity,
        "budgets": list(budgets),
        "torch_pruning": metadata.version("torch-pruning"),
        "precision": subject.precision,
        "test_images": len(splits.test),
        "search_images": f"{len(splits.search)} of {splits.record['search']['of']}",
        "sweep_images": min(SWEEP_IMAGES, len(splits.test)),
        "recalibration_images": len(subject.recalibration),
        "gradient_images": GRADIENT_IMAGES,
        "polish_images": polish_images,
        "seed": SEED,
        "how_chosen": "the peer's best setting by test accuracy on the sweep images (in its favour); gaprune's row by "
        "accuracy on the search set, whose images are no test images",
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)
    parser.add_argument("--run", type=Path, help="a finished search of the same network and images, for its front")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=_arguments))
