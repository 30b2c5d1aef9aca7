"""The rungs that candidates can be judged by, cheapest first, and how each ranks them beside the next.

Rungs: 256, 1,000 and 4,000 images that no training has seen, each a part of the next; the network polished, on those
4,000; and a training of about a second, the original as teacher, on those 4,000. Candidates are those of
``benchmarks/fidelity.py``. A race (``gaprune/evaluate/racing.py``) is run over what was measured: each candidate
against the best of its budget by all 2,000 search images, at a confidence of 99%. All times are of the process on its
processor, so that what else a machine does counts for little; the plain way is that of ``benchmarks/throughput.py``.
"""

from __future__ import annotations

import argparse
import base64
import copy
import functools
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import DONE
from benchmarks.subjects import SEED, Subject, WorkFile, code_digest, fixed_sample, load_subject, study
from benchmarks.throughput import plain
from gaprune.data import ImageSet, first, interleaved, normaliser
from gaprune.evaluate import Evaluator, FitnessTask, Race, resolve_objectives
from gaprune.evaluate.racing import rungs
from gaprune.evolve.ranked import rank
from gaprune.genome import Floats, Genome
from gaprune.progress import Task, make_reporter
from gaprune.prune import Polisher, fold
from gaprune.prune.compensate.compensation import Compensator
from gaprune.prune.space import PruningSpace
from gaprune.training import Distillation, Recipe, bfloat16_pays, fit

IMAGES = (256, 1_000, 4_000)
SEARCHED = 2_000
"""Images of a search set, over which a race goes."""

GENOMES = 16
PLAIN = 2
"""Genomes of a budget that the plain way is timed on."""

POLISH_IMAGES = 2_048
TRAIN_IMAGES = 2_048
RECIPE = Recipe(epochs=1, batch_size=64, lr=0.01, ema_decay=0.95)
CONFIDENCE = 0.99
KINDS = ("accuracy", "loss", "divergence")
RACED = ("accuracy", "loss")
QUICK = {"genomes": 4, "images": (32, 64, 120), "polish": 60, "train": 64}

Row = dict[str, Any]


class Ladder:
    """All rungs of one network.

    Args:
        subject: the network.
        space: its genomes.
        compensator: of all candidates.
        pool: the images of the largest rung, in an order that is fair to all classes.
        polish: images that layers are polished on.
        train: images of the short training.
    """

    def __init__(
        self,
        subject: Subject,
        space: PruningSpace,
        compensator: Compensator,
        pool: ImageSet,
        polish: ImageSet,
        train: ImageSet,
    ) -> None:
        task = FitnessTask(pool, subject.recalibration, *subject.norm, classes=len(subject.data.classes))
        objectives = resolve_objectives(("accuracy", "flops"))
        self._evaluator = Evaluator(subject.model, space, task, objectives, compensator, anchors=subject.anchors)
        self._subject, self._space, self._pool, self._train = subject, space, pool, train
        self._polish_on = polish
        self._answers = F.log_softmax(self._logits(subject.model), 1)
        self._teacher = copy.deepcopy(subject.model).eval()

    def plain(self, genome: Genome) -> Row:
        """Per image what a genome gets without more ado, as text, and the CPU seconds that takes."""
        share = self._subject.flops(self._space.masks(genome)) / self._subject.flops()
        start = time.process_time()
        network = self._evaluator.network(genome)
        fold(network, self._evaluator.norms)
        built = time.process_time()
        found = self._marks(network)
        seconds = {"built": round(built - start, 3), "measured": round(time.process_time() - built, 3)}
        return {"key": genome.key, "flops_share": share, "plain": found, "cpu_seconds": seconds}

    def masked(self, genome: Genome, searched: int) -> float:
        """CPU seconds of the plain way."""
        side = plain(self._subject, self._space, first(self._pool, searched))
        start = time.process_time()
        side(genome)
        return round(time.process_time() - start, 3)

    def after(self, genome: Genome) -> Row:
        """The same of the network polished, and then trained."""
        masks = self._space.masks(genome)
        start = time.process_time()
        polished = self._evaluator.compacted(masks)
        self._polish(polished, masks)
        row: Row = {"polished": self._marks(polished)}
        end = time.process_time()
        row["trained"] = self._marks(self._trained(polished))
        row["cpu_seconds"] = {"polished": round(end - start, 3), "trained": round(time.process_time() - end, 3)}
        return row

    @cached_property
    def _polish(self) -> Polisher:
        return Polisher(self._subject.model, self._subject.graph, self._polish_on, *self._subject.norm)

    def _trained(self, network: nn.Module) -> nn.Module:
        subject = self._subject
        recipe = Recipe(**{**asdict(RECIPE), "amp": bfloat16_pays(subject.device), "seed": SEED})
        network.requires_grad_(True)
        fit(
            network,
            self._train,
            first(self._pool, 1),
            mean=subject.data.mean,
            std=subject.data.std,
            flip=subject.data.flip,
            recipe=recipe,
            lesson=Distillation(self._teacher),
        )
        return network

    def _logits(self, network: nn.Module) -> torch.Tensor:
        normalised = normaliser(*self._subject.norm, self._subject.device)
        with torch.inference_mode():
            return torch.cat([network(normalised(batch)).float() for batch in self._pool.images.split(256)])

    def _marks(self, network: nn.Module) -> dict[str, str]:
        logits = self._logits(network)
        answers = F.log_softmax(logits, 1)
        found = {
            "accuracy": (logits.argmax(1) != self._pool.labels).float(),
            "loss": F.cross_entropy(logits, self._pool.labels, reduction="none"),
            "divergence": F.kl_div(answers, self._answers, reduction="none", log_target=True).sum(1),
        }
        return {
            name: base64.b64encode(each.cpu().numpy().astype("<f2").tobytes()).decode() for name, each in found.items()
        }


def marks(text: str) -> Floats:
    """(N,) what a network gets on each image, the less the better."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64)


def scores(rows: list[Row], images: tuple[int, ...]) -> dict[str, dict[str, Floats]]:
    """For each rung and kind the (genomes,) means, the less the better."""
    found = {}
    for name, count in zip(IMAGES, images, strict=True):
        found[f"{name:,} images"] = {
            k: np.array([marks(row["plain"][k])[:count].mean() for row in rows]) for k in KINDS
        }
    for name in ("polished", "trained") if "polished" in rows[0] else ():
        found[name] = {k: np.array([marks(row[name][k]).mean() for row in rows]) for k in KINDS}
    return found


def raced(rows: list[Row], searched: int) -> Row:
    """What a race of each candidate against the best of all would have spared, and whom it would have dropped."""
    found: Row = {}
    looks = rungs(searched, 256)
    for kind in RACED:
        each = [marks(row["plain"][kind]) for row in rows]
        means = np.array([one[:searched].mean() for one in each])
        best = int(np.argmin(means))
        race = Race(kind, 1 - CONFIDENCE, each[best][:searched], float(means[best]))
        seen, dropped = [], []
        for number, one in enumerate(each):
            lost = [look for look in looks if number != best and race.behind(one[:look], len(looks)) is not None]
            seen.append(lost[0] if lost else searched)
            if lost:
                dropped.append(float(one.mean() - each[best].mean()))
        found[kind] = {
            "candidates": len(rows),
            "dropped": len(dropped),
            "images a candidate, mean": round(float(np.mean(seen)), 1),
            "least a dropped one is behind on all images": round(min(dropped), 4) if dropped else None,
        }
    return found


def speed_ups(seconds: dict[str, float], races: Row, searched: int, measured: int) -> dict[str, float]:
    """How much faster than the plain way a candidate is judged on all search images, and in a race."""
    images = {"all search images": searched} | {f"race by {k}": races[k]["images a candidate, mean"] for k in RACED}
    each = seconds["measured"] / measured
    return {how: round(seconds["plain way"] / (seconds["built"] + each * count), 2) for how, count in images.items()}


def measure(options: argparse.Namespace) -> Row:
    """All genomes of both budgets on all rungs."""
    from benchmarks.fidelity import BUDGETS, candidates

    reporter = make_reporter()
    subject = load_subject(options, reporter)
    count, images, polish, train = QUICK.values() if options.quick else (GENOMES, IMAGES, POLISH_IMAGES, TRAIN_IMAGES)
    settings = {"genomes": count, "images": list(images), "polish": polish, "train": train, "recipe": asdict(RECIPE)}
    work = WorkFile(
        options.output / f".rungs-{subject.name}.jsonl", subject.identity | settings | {"code": code_digest()}
    )
    found, space = study(subject, reporter)
    ladder = Ladder(
        subject,
        space,
        Compensator(subject.model, subject.graph, found),
        pool_of(subject, images[-1]),
        first(subject.splits.calibration, polish),
        fixed_sample(subject.splits.train, train),
    )
    ranked, budgets = rank(space), {}
    ladder.plain(candidates(ranked, BUDGETS[0], 1, SEED)[0])  # inverses made once a search are no candidate's
    with reporter.task("genomes", count * len(BUDGETS)) as task:
        for number, budget in enumerate(BUDGETS):
            genomes = candidates(ranked, budget, count, SEED + number)
            whole = options.rungs == "all"
            budgets[f"{budget:.0%}"] = _of_budget(ladder, work, budget, genomes, images, whole=whole, task=task)
    correlations = {name: one["correlations"] for name, one in budgets.items()}
    names = next(iter(budgets.values()))["rungs"]
    return {
        "data": f"rungs-{subject.name}",
        "device": subject.device.type,
        DONE: work.remove,
        "threads": torch.get_num_threads(),
        "settings": settings | {"network": subject.identity, "confidence": CONFIDENCE},
        "figures": {
            f"{a} with {b}, {budget}": kinds[f"accuracy: {a} to {b}"]["spearman"]
            for budget, kinds in correlations.items()
            for a, b in itertools.pairwise(names)
        },
        "correlations": correlations,
        "races": {name: one["races"] for name, one in budgets.items()},
        "cpu_seconds": {name: one["cpu_seconds"] for name, one in budgets.items()},
        "rows": [{"budget": name, **row} for name, one in budgets.items() for row in one["rows"]],
    }


def _of_budget(
    ladder: Ladder,
    work: WorkFile,
    budget: float,
    genomes: Sequence[Genome],
    images: tuple[int, ...],
    *,
    whole: bool,
    task: Task,
) -> Row:
    """The genomes of one budget: rows, correlations between rungs, races, CPU seconds.

    Args:
        ladder: measures a genome.
        work: keeps what was measured.
        budget: share of the FLOPs.
        genomes: of about that cost.
        images: of each rung that is measured as cut.
        whole: whether they are polished and trained, too.
        task: told of each genome.
    """
    searched = min(SEARCHED, images[-1])
    here: list[Row] = []
    masked: list[float] = []
    for genome in genomes:
        row = work.row(f"{budget} {genome.key}", functools.partial(ladder.plain, genome))
        if whole:
            more = work.row(f"{budget} {genome.key} after", functools.partial(ladder.after, genome))
            row = row | more | {"cpu_seconds": row["cpu_seconds"] | more["cpu_seconds"]}
        here.append(row)
        if len(here) <= PLAIN:
            how = functools.partial(ladder.masked, genome, searched)
            masked.append(work.row(f"{budget} {genome.key} masked", how))
        task.advance(1)
    by_rung = scores(here, images)
    races = raced(here, searched)
    seconds = {
        part: round(float(np.mean([row["cpu_seconds"][part] for row in here])), 3) for part in here[0]["cpu_seconds"]
    } | {"plain way": round(float(np.mean(masked)), 3)}
    races["times the plain way"] = speed_ups(seconds, races, searched, images[-1])
    return {
        "rungs": list(by_rung),
        "correlations": _correlations(by_rung),
        "races": races,
        "cpu_seconds": seconds,
        "rows": [
            {"key": row["key"], "flops_share": row["flops_share"], "cpu_seconds": row["cpu_seconds"]}
            | {rung: {kind: round(float(by_rung[rung][kind][i]), 5) for kind in KINDS} for rung in by_rung}
            for i, row in enumerate(here)
        ],
    }


def _correlations(by_rung: Row) -> Row:
    """How well each rung ranks candidates as the next one's accuracy does, and the first and third as the last's."""
    from benchmarks.fidelity import interval, spearman

    names = list(by_rung)
    pairs = [*itertools.pairwise(names), (names[0], names[-1]), (names[2], names[-1])]
    return {
        f"{kind}: {a} to {b}": {
            "spearman": round(float(spearman(by_rung[a][kind], by_rung[b]["accuracy"])), 4),
            "95%": interval(by_rung[a][kind], by_rung[b]["accuracy"]),
        }
        for kind in KINDS
        for a, b in dict.fromkeys(pairs)
        if a != b
    }


def pool_of(subject: Subject, most: int) -> ImageSet:
    """The search images, then others that no training has seen, ``most`` in all, each fair to all classes."""
    search, others = subject.splits.search, fixed_sample(subject.splits.test, max(most - len(subject.splits.search), 0))
    parts = [part.select(interleaved(part.labels, seed=SEED)) for part in (search, others) if len(part)]
    images = torch.cat([part.images[:] for part in parts])
    return first(ImageSet(images, torch.cat([part.labels for part in parts])), most)
