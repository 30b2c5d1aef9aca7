"""What a search hands out, chosen with the noise in mind: by images that did not choose.

The best of many by some images owes part of its lead to these images. Wherever the search had a rung of a ladder, the
best that it has found at that cost must be surely better than the rung on fresh images; else the rung is handed out.
What a round budget has room for beyond that is handed out besides, if it is surely better still. Small networks that
will be polished are compared polished: at a twentieth of the FLOPs polish changes the ranks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from gaprune.data import ImageSet, augment, first
from gaprune.device import pinned
from gaprune.evaluate import Answers, Outcome, divergences
from gaprune.genome import Genome
from gaprune.progress import SILENT, Reporter
from gaprune.prune import Polisher
from gaprune.runs import BUDGETS, RunDirectory
from gaprune.session.afterwards import Afterwards
from gaprune.session.job import Job
from gaprune.session.polishing import make_polisher

FRESH, OF_LARGE = 4_096, 1_024
"""Calibration images, shifted and mirrored, that finalists are compared on; those that cost much, on fewer.

On 1,024 of them a rung of VGG16 at a tenth of the FLOPs was kept that is two points behind the find on test images.
"""

FRESH_PIXELS = 4_096 * 64 * 64
"""Pixels of them all, as far as that leaves as many as large networks are compared on."""

SURELY = 1.0
"""Standard errors of the paired difference by which a find must be ahead of a rung."""

SAME = 0.01
"""Difference of cost up to which rungs are at the same place, as a share of it."""

SLACK = 0.0015
"""By how much more than a rung a find of its place may cost, as a share: rungs of one budget are no nearer."""

MEASURED = ("accuracy", "loss", "divergence")
"""First objectives of searches whose fronts are chosen so, beside one of costs."""

CHOSEN = "handed_out"
"""Entry of the manifest: after how many generations what was chosen."""


@dataclass(frozen=True)
class Candidate:
    """What may be handed out.

    Attributes:
        genome: the network.
        outcome: its evaluation.
        fitness: what was measured, minimised.
        cost: what was counted, minimised.
    """

    genome: Genome
    outcome: Outcome
    fitness: float
    cost: float


@dataclass(frozen=True)
class Place:
    """Where a search had rungs of ladders of about one cost.

    Attributes:
        rungs: the most trusted first.
        find: what was found there and seems to be better; ``None`` where nothing does.
        beyond: what round budgets have room for that costs more, cheapest first; each seems better than all before.
    """

    rungs: tuple[Candidate, ...]
    find: Candidate | None
    beyond: tuple[Candidate, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All at its cost."""
        return self.rungs if self.find is None else (*self.rungs, self.find)

    @property
    def is_doubtful(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.candidates) + len(self.beyond) > 1


SMALL = 0.3
"""Share of the FLOPs below which networks are small: compared on more images, and polished if they will be.

Above it the ranks are the same, and either takes long.
"""

Judge = Callable[[Candidate], Tensor | None]
"""(N,) divergences of a candidate on fresh images, or on the first of them; ``None`` where it fails."""


def hand_out(
    job: Job,
    run: RunDirectory,
    front: Sequence[Candidate],
    rungs: Sequence[Candidate],
    generation: int,
    attempts: Afterwards,
    say: Reporter,
) -> list[Candidate]:
    """What is handed out, the best fitness first; as before where the search has not moved.

    One candidate for each place of a rung, and what round budgets have room for beyond it.

    Args:
        job: of the search.
        run: keeps what was chosen.
        front: what is not dominated.
        rungs: of the first ladder, then of a tuned one; sound, and within the constraints.
        generation: how many are done.
        attempts: bounds what a network may take and cost that is looked at again.
        say: told of progress.
    """
    there = {one.genome.key: one for one in (*rungs, *front)}
    saved = run.manifest.get(CHOSEN) or {}
    if saved.get("generation") == generation and set(saved["keys"]) <= set(there):
        return [there[key] for key in saved["keys"]]
    places = finalists(front, rungs)
    chosen = [place.candidates[0] for place in places if not place.is_doubtful]
    doubtful = [place for place in places if place.is_doubtful]
    if doubtful:
        look = _FreshImages(job, say)
        with say.task("choosing what is handed out, on fresh images", len(doubtful)) as task, attempts as attempt:
            known: dict[str, Tensor | None] = {}

            def judge(one: Candidate) -> Tensor | None:
                key = one.genome.key
                if key not in known:
                    known[key] = attempt(key, lambda: look(one), noun="candidate", without="fails on fresh images")
                return known[key]

            for place in doubtful:
                chosen += of_place(place, judge)
                task.advance(1)
    chosen = list({one.genome.key: one for one in chosen}.values())
    kept = sum(one in rungs for one in chosen)
    of_ladders = "of them rungs of ladders that no find at their cost surely beats"
    say.say(f"handed out: {len(chosen)} networks, {kept} {of_ladders}")
    chosen.sort(key=lambda one: one.fitness)
    run.update_manifest(**{CHOSEN: {"generation": generation, "keys": [one.genome.key for one in chosen]}})
    return chosen


def finalists(front: Sequence[Candidate], rungs: Sequence[Candidate]) -> list[Place]:
    """The places of the rungs, cheapest first, each with the best find that costs more than the place before.

    A find costs no more than the place's rungs, and must be ahead of them. One that is dearer than all rungs has a
    place of its own. A rung seldom fills a round budget, such as 10% of the FLOPs: the best find that does is beyond
    the last place within it.

    Args:
        front: what is not dominated.
        rungs: the most trusted first.
    """
    own = {one.genome for one in rungs}
    found = [one for one in front if one.genome not in own]
    places: list[list[Candidate]] = []
    for rung in sorted({one.genome: one for one in rungs}.values(), key=lambda one: one.cost):
        if places and rung.cost <= places[-1][0].cost * (1 + SAME):
            places[-1].append(rung)
        else:
            places.append([rung])
    trust = {genome: number for number, genome in enumerate(dict.fromkeys(one.genome for one in rungs))}
    made, least = [], 0.0
    for here in places:
        most = max(one.cost for one in here) * (1 + SLACK)
        within = [one for one in found if least < one.cost <= most]
        best = min(within, key=lambda one: one.fitness, default=None)
        ahead = best is not None and best.fitness < min(one.fitness for one in here)
        made.append(Place(tuple(sorted(here, key=lambda one: trust[one.genome])), best if ahead else None))
        least = most
    return [*_with_beyond(made, found), *(Place((), one) for one in found if one.cost > least)]


def _with_beyond(places: Sequence[Place], found: Sequence[Candidate]) -> list[Place]:
    """The places with what round budgets have room for beyond each, and that is ahead of its rungs.

    What lies beyond the last has a place of its own.
    """
    made = []
    for place, later in itertools.pairwise(places):
        end = min(one.cost for one in later.rungs)
        most = max(one.cost for one in place.rungs) * (1 + SLACK)
        best, beyond = min(one.fitness for one in place.rungs), []
        for budget in (one for one in BUDGETS if most < one < end):
            within = [one for one in found if most < one.cost <= budget and one.fitness < best]
            if within:
                beyond.append(min(within, key=lambda one: one.fitness))
                best = beyond[-1].fitness
        made.append(replace(place, beyond=tuple(beyond)))
    return [*made, *places[-1:]]


def of_place(place: Place, judge: Judge) -> list[Candidate]:
    """What is handed out of a place: the surest, and what is beyond it, each if it is surely better than all before.

    Args:
        place: with two candidates or more, those beyond it among them.
        judge: what tells.
    """
    chosen = [surest(place, judge) if len(place.candidates) > 1 else place.candidates[0]]
    for one in place.beyond:
        if surest(Place((chosen[-1],), one), judge) is one:
            chosen.append(one)
    return chosen


def surest(place: Place, judge: Judge) -> Candidate:
    """The first rung, unless another one is ahead of it on fresh images, or a find surely is.

    One that fails there is passed over, unless all do.

    Args:
        place: with two candidates or more.
        judge: what tells.
    """
    best, *others = place.rungs
    at = judge(best)
    for other in (*others, *([] if place.find is None else [place.find])):
        there = judge(other)
        if there is None:
            continue
        if at is None:
            best, at = other, there
            continue
        both = min(len(there), len(at))
        apart = (there[:both] - at[:both]).double()
        error = float(apart.std(correction=0)) / math.sqrt(len(apart))
        if float(apart.mean()) < (-SURELY * error if other is place.find else 0.0):
            best, at = other, there
    return best


class _FreshImages:
    """Divergence from the true original on each of some training images as training shows them, which chose nobody.

    Args:
        job: of the search.
        say: told of preparations.
    """

    def __init__(self, job: Job, say: Reporter = SILENT) -> None:
        self._job, self._say = job, say
        self._images, evaluator = fresh_images(job), job.evaluator
        self._few = first(self._images, OF_LARGE)
        task = evaluator.images
        original = job.baseline.model if job.true_original is None else job.true_original
        self._norm = task.mean, task.std
        with pinned(job.threads):
            self._answers = Answers.of(
                original,
                self._images,
                *self._norm,
                batch_size=task.batch_size,
                temperature=job.options.fitness.fitness_temperature,
            )

    def __call__(self, candidate: Candidate) -> Tensor:
        """(N,) float32 of a candidate's network; the lower of two means where it may be polished."""
        evaluator, small = self._job.evaluator, self._is_small(candidate)
        images = self._images if small else self._few
        with pinned(self._job.threads), torch.no_grad():
            found = self._apart(evaluator.network(candidate.genome), images)
            if not self._job.options.space.polish or not small:
                return found
            masks = evaluator.space.masks(candidate.genome)
            network = evaluator.compacted(masks)
            self._polisher(network, masks)
            return min(found, self._apart(network, images), key=lambda apart: float(apart.mean()))

    @cached_property
    def _polisher(self) -> Polisher:
        return make_polisher(self._job, self._say)

    def _is_small(self, candidate: Candidate) -> bool:
        return self._job.evaluator.costs(candidate.genome).flops < SMALL * self._job.original.flops

    def _apart(self, network: nn.Module, images: ImageSet) -> Tensor:
        size = self._job.evaluator.images.batch_size
        return divergences(network, images, *self._norm, answers=self._answers, batch_size=size)


def fresh_images(job: Job) -> ImageSet:
    """The last of the calibration images, shifted and mirrored: batch norm is recalibrated on the first."""
    images = job.splits.calibration
    device = images.labels.device
    _, height, width = job.data.image_shape
    free = max(len(images) - job.options.images.calibration_size, min(OF_LARGE, len(images)))
    count = min(max(OF_LARGE, FRESH_PIXELS // (height * width)), FRESH, free)
    last = images.select(torch.arange(len(images) - count, len(images), device=device)).loaded()
    generator = torch.Generator(device).manual_seed(job.options.evolution.seed)
    pad = min(4, height // 8, width // 8)
    return replace(last, images=augment(last.images[:], generator=generator, pad=pad, flip=job.data.flip))
