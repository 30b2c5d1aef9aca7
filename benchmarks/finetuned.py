"""After the same fine-tuning, whose pruned network is better: gaprune's, or the best that Torch-Pruning makes?

Claim: at 50%, 20%, 10% and 5% of the FLOPs, from the same checkpoint, with the same fine-tuning, gaprune's network
ends above the best of Torch-Pruning's.

Torch-Pruning's side: every importance criterion in every scope brought to the budget (as in ``oneshot.py``), batch norm
recalibrated plainly or anchored, whichever is better for it; the best few on test images are fine-tuned from one seed,
and the one that ends best on the test images is fine-tuned from the others: picked by what reports, which favours it.
Ours: one search as it is with ``--polish`` (tuned ladders, NSGA-II, by divergence), compensated and polished; the best
within the budget on the search images, the tuned ladder's best rung, and so on, as many as the peer has, are fine-tuned
from one seed, and the search images pick.

Fine-tuning, both sides alike: all training images, distilled from the original, one-cycle SGD, averaged weights, as
``python -m gaprune.finetune`` does by default; in as many epochs as the settings say.

    python benchmarks/finetuned.py --model resnet18 --stem imagenet --data-dir DIR
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import hashlib
import shutil
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import DONE, Goal, are_shares, at_least, run
from benchmarks.oneshot import (
    POLISH_IMAGES,
    QUICK_CRITERIA,
    QUICK_POLISH_IMAGES,
    RECALIBRATED,
    Bench,
    peer_network,
    peer_sweep,
)
from benchmarks.pictures import Curve, draw_accuracy
from benchmarks.search_methods import DIVERGENCE, FLOPS, TUNED, Judge, Recorder, made, searched
from benchmarks.subjects import SEED, Subject, WorkFile, add_arguments, code_digest, fixed_sample, load_subject, study
from benchmarks.torch_pruning_peer import SCOPES, criteria
from gaprune.data import first
from gaprune.errors import OptionError
from gaprune.evaluate import Polish
from gaprune.evaluate.measurement import measure as top1
from gaprune.genome import Genome
from gaprune.options.groups import POLISHED_BELOW
from gaprune.progress import Reporter, make_reporter
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.compensate.polish import Polisher
from gaprune.prune.norms.folding import fold
from gaprune.session.polishing import OF_CANDIDATES
from gaprune.training import Distillation, Recipe, fit, gentler
from gaprune.training.subject import default_recipe

BUDGETS = (0.5, 0.2, 0.1, 0.05)
EVALUATIONS = 300
POPULATION = 24
EPOCHS = 10
SEEDS = 3
FINALISTS = 3
ALL_SEEDS = ("resnet18-imagenet",)
"""Networks whose goals want every seed."""

QUICK = {"evaluations": 24, "population": 8, "epochs": 1, "seeds": 2, "finalists": 2, "budgets": (0.5, 0.2)}

PEER, OURS = "Torch-Pruning", "gaprune"

GOALS = (
    *(
        Goal(f"resnet18-imagenet: ahead of {PEER} at {budget:.0%}", ">=", points, "points, mean of seeds")
        for budget, points in zip(BUDGETS, (0.5, 2.0, 2.0, 3.0), strict=True)
    ),
    Goal(f"vgg16: ahead of {PEER} at 10%", ">=", 0.01, "points, mean of seeds"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A pruned network before fine-tuning.

    Attributes:
        side: whose.
        name: how it was made.
        make: builds it, in eval mode.
        code: of what made it, where that may change under the same name.
    """

    side: str
    name: str
    make: Callable[[], nn.Module]
    code: str = ""


class FineTuning:
    """The same fine-tuning for every network.

    Args:
        subject: the original, its images.
        recipe: the numbers.
        work: rows of an earlier, killed run.
        states: folder of trainings that are not finished.
        bench: counts costs.
        reporter: told of each.
    """

    def __init__(
        self, subject: Subject, recipe: Recipe, work: WorkFile, states: Path, bench: Bench, reporter: Reporter
    ) -> None:
        teacher = copy.deepcopy(subject.model).eval().requires_grad_(False)
        fold(teacher, subject.graph.norms)
        self._lesson = Distillation(teacher.to(memory_format=torch.channels_last))
        self._subject, self._recipe, self._work, self._states = subject, recipe, work, states
        self._bench, self._reporter = bench, reporter

    def __call__(self, candidate: Candidate, budget: float, seed: int) -> Row:
        """One network fine-tuned from one seed."""
        key = ", ".join(filter(None, (candidate.side, candidate.name, str(budget), f"seed {seed}", candidate.code)))
        return dict(self._work.row(key, functools.partial(self._tuned, candidate, budget, seed, key)))

    def _tuned(self, candidate: Candidate, budget: float, seed: int, key: str) -> Row:
        self._reporter.say(f"fine-tuning {key}")
        subject, network = self._subject, candidate.make()
        before = self._accuracy(network)
        states = self._states / hashlib.sha256(key.encode()).hexdigest()[:16]
        records = fit(
            network.requires_grad_(True),
            subject.splits.train,
            subject.splits.search,
            mean=subject.data.mean,
            std=subject.data.std,
            flip=subject.data.flip,
            recipe=dataclasses.replace(self._recipe, seed=seed),
            lesson=self._lesson,
            directory=states,
            reporter=self._reporter,
        )
        shutil.rmtree(states, ignore_errors=True)
        named = {"method": candidate.side, "setting": candidate.name, "budget": budget, "seed": seed}
        after = self._accuracy(network)
        seconds = round(sum(record.seconds for record in records), 1)
        return {**named, **self._bench.cost(network), "before": before, **after, "seconds": seconds}

    def _accuracy(self, network: nn.Module) -> Row:
        splits, norm = self._subject.splits, self._subject.norm
        return {f"{part}_accuracy": top1(network, getattr(splits, part), *norm).accuracy for part in ("search", "test")}


def peers(bench: Bench, sweep: list[Row], budgets: tuple[float, ...], count: int) -> dict[float, list[Candidate]]:
    """The peer's best settings of each budget on the sweep's test images.

    Batch norm is recalibrated plainly or as ours is, whichever is better for a setting.
    """
    found = {}
    for budget in budgets:
        done = [row for row in sweep if row["budget"] == budget and "sweep_accuracy" in row]
        best = sorted(done, key=lambda row: -row["sweep_accuracy"][_way(row)])[:count]
        found[budget] = [
            Candidate(
                PEER,
                f"{row['criterion']}, {row['scope']}, {_way(row)}",
                functools.partial(peer_network, bench, row, _way(row)),
            )
            for row in best
        ]
    _check_all(found)
    return found


def _check_all(found: dict[float, list[Candidate]]) -> None:
    for budget, candidates in found.items():
        if not candidates:
            raise OptionError(f"budgets must be shares of the FLOPs that both sides reach: {budget:g} is not")


def _way(row: Row) -> str:
    """The recalibration that is better for a setting of the peer."""
    return max(RECALIBRATED, key=lambda way: float(row["sweep_accuracy"][way]))


class Own:
    """Our candidates: a search, and the ways to make a found network.

    Args:
        subject: the original.
        work: what was measured before.
        polish_images: calibration images that layers are polished on.
        reporter: told of the preparations.
    """

    def __init__(self, subject: Subject, work: WorkFile, polish_images: int, reporter: Reporter) -> None:
        self._subject, self._reporter = subject, reporter
        moments, self._space = study(subject, reporter)
        compensator = Compensator(subject.model, subject.graph, moments)
        others = fixed_sample(subject.splits.test, 1)  # this search is not told of test images
        self._code = code_digest()  # another version would judge, and make, otherwise
        name = f"{self._code} "
        few = first(subject.splits.calibration, min(OF_CANDIDATES, polish_images))
        small = Polish(POLISHED_BELOW, Polisher(subject.model, subject.graph, few, *subject.norm))
        self._judge = Judge(subject, self._space, compensator, subject.splits.search, others, work, name, polish=small)
        images = first(subject.splits.calibration, polish_images)
        with reporter.task("targets of the polish", len(images)) as task:
            self._polisher = Polisher(subject.model, subject.graph, images, *subject.norm, advance=task.advance)

    def candidates(self, settings: Row) -> dict[float, list[Candidate]]:
        """The best few of one search within each budget by the search images, the best rung of its ladders second."""
        recorder = Recorder(self._judge)
        algorithm = made(TUNED, self._space, settings["population"], SEED)
        with self._reporter.task("evaluations", settings["evaluations"]) as task:
            for _ in searched(algorithm, recorder, settings["evaluations"], DIVERGENCE):
                task.advance(1)
        rungs = set(algorithm.rungs())
        ranked = [g for g, _ in sorted(recorder.asked, key=lambda pair: float(pair[1][DIVERGENCE]))]
        found = {}
        for budget in settings["budgets"]:
            within = [genome for genome in ranked if self._judge(genome)[FLOPS] <= budget]
            of_ladders = [genome for genome in within if genome in rungs]
            few = list(dict.fromkeys((*within[:1], *of_ladders[:1], *within)))[: settings["finalists"]]
            found[budget] = [
                Candidate(OURS, genome.key[:12], functools.partial(self._network, genome), self._code) for genome in few
            ]
        _check_all(found)
        return found

    def _network(self, genome: Genome) -> nn.Module:
        """Of compensated, polished, and polished and recalibrated the nearest to the original on the search images."""
        evaluator = self._judge.evaluator
        masks = self._space.masks(genome)
        with torch.no_grad():
            polished = evaluator.compacted(masks)
            self._polisher(polished, masks)
            recalibrated = copy.deepcopy(polished)
            evaluator.recalibrate(recalibrated, masks)
            ways = [evaluator.network(genome), polished, recalibrated]
            apart = [evaluator.searched(network).divergence for network in ways]
        return ways[int(np.argmin(apart))]


def compared(tune: FineTuning, candidates: Iterable[Candidate], budget: float, seeds: int, chosen_by: str) -> list[Row]:
    """Every candidate from seed 0; the best of them, by some images, from the other seeds."""
    finalists = list(candidates)
    first_rows = [tune(candidate, budget, 0) | {"finalist": True} for candidate in finalists]
    best = int(np.argmax([row[chosen_by] for row in first_rows]))
    first_rows[best] |= {"finalist": False, "winner": True}
    others = [tune(finalists[best], budget, seed) | {"finalist": False, "winner": True} for seed in range(1, seeds)]
    return [*first_rows, *others]


def figures_of(network: str, rows: list[Row]) -> dict[str, float]:
    """The figures that goals speak of: the winners' means, ours less the peer's, in points; none of too few seeds."""
    figures = {}
    fewest = SEEDS if network in ALL_SEEDS else 1
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        means = {}
        for side in (OURS, PEER):
            values = [row["test_accuracy"] for row in rows if _wins(row, side, budget)]
            if len(values) >= fewest:
                means[side] = statistics.mean(values)
        if len(means) == 2:
            figures[f"{network}: ahead of {PEER} at {budget:.0%}"] = round(100 * (means[OURS] - means[PEER]), 3)
    return figures


def summary(rows: list[Row]) -> list[Row]:
    """Mean and spread of the winners over seeds."""
    found = []
    for budget in sorted({row["budget"] for row in rows}, reverse=True):
        for side in (OURS, PEER):
            here = [row for row in rows if _wins(row, side, budget)]
            if not here:
                continue
            line: Row = {"method": side, "setting": here[0]["setting"], "budget": budget, "seeds": len(here)}
            for name in ("search_accuracy", "test_accuracy"):
                values = [row[name] for row in here]
                line[name] = {"mean": round(statistics.mean(values), 4), "least": min(values), "most": max(values)}
            before = {name: here[0]["before"][name] for name in ("search_accuracy", "test_accuracy")}
            found.append(line | {"before": before, "flops_share": here[0]["flops_share"], "params": here[0]["params"]})
    return found


def curves_of(lines: list[Row]) -> list[Curve]:
    """Accuracy of the winners against the budget, with the spread of seeds, and before fine-tuning."""
    curves = []
    for side, mark in ((OURS, "o"), (PEER, "^")):
        here = [line for line in lines if line["method"] == side]
        after = [line["test_accuracy"] for line in here]
        points = [(100 * line["budget"], one["mean"]) for line, one in zip(here, after, strict=True)]
        curves.append(Curve(f"{side}, fine-tuned", points, f"{mark}-", [(one["least"], one["most"]) for one in after]))
        before = [(100 * line["budget"], line["before"]["test_accuracy"]) for line in here]
        curves.append(Curve(f"{side}, before", before, f"{mark}:"))
    return curves


def _wins(row: Row, side: str, budget: float) -> bool:
    return bool(row["method"] == side and row["budget"] == budget and row.get("winner"))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both sides at every budget."""
    at_least(options, epochs=1, epoch_images=2, seeds=1, finalists=1)
    are_shares(options, "budgets")
    reporter = make_reporter()
    subject = load_subject(options, reporter)
    asked = (EVALUATIONS, POPULATION, options.epochs, options.seeds, options.finalists, tuple(options.budgets))
    settings: Row = dict(zip(QUICK, QUICK.values() if options.quick else asked, strict=True))
    usual = default_recipe(subject.model, subject.data, subject.device)
    recipe = dataclasses.replace(
        usual, epochs=settings["epochs"], epoch_images=options.epoch_images, lr=gentler(subject.model) * usual.lr
    )
    kept = {"training": code_digest("training"), "recipe": recipe.record()}
    stem = options.output / f".finetuned-{subject.name}"
    work = WorkFile(stem.with_suffix(".jsonl"), subject.identity | kept)
    chosen = [one for one in criteria() if not options.quick or one.name in QUICK_CRITERIA]
    bench = Bench(subject, work, chosen)
    tune = FineTuning(subject, recipe, work, stem.with_name(f"{stem.name}-states"), bench, reporter)
    with reporter.task("settings of the peer", len(bench.criteria) * len(SCOPES)) as task:
        sweep = peer_sweep(bench, settings["budgets"], task)
    theirs = peers(bench, sweep, settings["budgets"], settings["finalists"])
    own = Own(subject, work, QUICK_POLISH_IMAGES if options.quick else POLISH_IMAGES, reporter)
    ours = own.candidates(settings)
    rows: list[Row] = []
    with reporter.task("budgets and sides", 2 * len(settings["budgets"])) as task:
        for budget in sorted(settings["budgets"]):
            for candidates, chosen_by in ((ours, "search_accuracy"), (theirs, "test_accuracy")):
                rows += compared(tune, candidates[budget], budget, settings["seeds"], chosen_by)
                task.advance(1)
    original = {part: top1(subject.model, getattr(subject.splits, part), *subject.norm) for part in ("search", "test")}
    suffix = "-quick" if options.quick else ""
    picture = options.output / f"finetuned-{subject.name}-{subject.device.type}{suffix}.png"
    title = f"{subject.name}: after the same fine-tuning"
    draw_accuracy(picture, curves_of(summary(rows)), "FLOPs at most, %", title, original["test"].accuracy)
    return {
        "data": subject.name,
        "device": subject.device.type,
        DONE: functools.partial(_forget, work, stem.with_name(f"{stem.name}-states")),
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "recipe": recipe.record()},
        "original": {part: found.accuracy for part, found in original.items()},
        "figures": figures_of(subject.variant, rows),
        "summary": summary(rows),
        "rows": rows,
        "torch_pruning": metadata.version("torch-pruning"),
        "sweep_images": len(bench.sweep),
        "peer_sweep": sweep,
    }


def _forget(work: WorkFile, states: Path) -> None:
    """The work is done: forget how far it was."""
    work.remove()
    shutil.rmtree(states, ignore_errors=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which network, which budgets, how long."""
    add_arguments(parser)
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="shares of the FLOPs")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each fine-tuning")
    parser.add_argument("--epoch-images", type=int, help="of each epoch, drawn anew; default: all training images")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the winners' fine-tuning")
    parser.add_argument("--finalists", type=int, default=FINALISTS, help="candidates of a side that are fine-tuned")


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
