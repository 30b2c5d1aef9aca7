"""Candidates judged by a caller's own task: its score, higher is better, and a divergence where it gives one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from gaprune.evaluate.attack import Robustness
from gaprune.evaluate.objectives import DIVERGENCE, Candidate, Objective
from gaprune.evaluate.racing import Floor
from gaprune.options import SCORE
from gaprune.prune import Anchors, Graph, InputRecalibrator, Inputs
from gaprune.tasks import Task, judge

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Scored:
    """What a task says of one network.

    Attributes:
        score: higher is better.
        divergence: of its outputs from the original's; ``None`` where nobody asked.
        bound: whether measuring was stopped; a task's never is.
        likely: ``None``, as of all that is measured to the end.
    """

    score: float
    divergence: float | None = None
    bound: bool = False
    likely: float | None = None

    def values(self) -> dict[str, float]:
        """What was measured, by the names of objectives."""
        found = {SCORE: self.score}
        return found if self.divergence is None else {**found, DIVERGENCE.name: self.divergence}


@dataclass(frozen=True)
class ScoredBy:
    """What candidates are measured on: a task of the caller's own.

    Attributes:
        task: the caller's.
        batches: its calibration batches, on the device.
        device_type: where networks run.
        half: whether the score is taken in bfloat16.
        diverges: whether the divergence is asked for, too.
    """

    task: Task
    batches: tuple[Inputs, ...]
    device_type: str
    half: bool = False
    diverges: bool = False
    classes: int = 0
    racing: float = 1.0

    def recalibrator(self, graph: Graph, anchors: Anchors | None) -> InputRecalibrator:
        """What measures batch norm anew on the calibration batches."""
        return InputRecalibrator(self.batches, graph, anchors)

    def unmeasured(self) -> Scored:
        """Of a candidate whose costs alone are too high for the constraints: the task is not asked."""
        return Scored(-math.inf, bound=True)

    def measured(self, network: nn.Module, floor: Floor | None = None, raced: str | None = None) -> Scored:
        """What the task says of a network."""
        found = Scored(judge(network, self.task.score))
        if self.task.divergence is None or not self.diverges:
            return found
        return replace(found, divergence=judge(network, self.task.divergence))

    def attack(self, network: nn.Module) -> Robustness:
        """Nobody knows how to attack a task of one's own."""
        raise NotImplementedError("a task of one's own cannot be attacked")


@dataclass(frozen=True)
class Lost:
    """What a score has lost of the original's, 0 for the original and 1 for the smallest network.

    Attributes:
        original: the score of the original.
        smallest: that of the smallest network.
    """

    original: float
    smallest: float

    def __call__(self, candidate: Candidate) -> float:
        """Of a candidate; below 0 where it is better than the original."""
        return (self.original - candidate.score) / span(self.original, self.smallest)


@dataclass(frozen=True)
class Apart:
    """A divergence as a share of the smallest network's.

    Attributes:
        smallest: what that has.
    """

    smallest: float

    def __call__(self, candidate: Candidate) -> float:
        """Of a candidate."""
        found = candidate.divergence
        if found is None:
            raise RuntimeError("the task gives no divergence")
        return found / span(self.smallest, 0.0)


def span(best: float, worst: float) -> float:
    """How far two scores are apart; where the first is not the better one, its size or 1, so that it can divide.

    >>> span(0.8, 0.3), span(0.5, 0.5), span(0.0, float("nan"))
    (0.5, 0.5, 1.0)
    """
    apart = best - worst
    return apart if math.isfinite(apart) and apart > 0 else abs(best) or 1.0


def score_objective(original: float, smallest: float) -> Objective:
    """The objective of a task's score.

    Args:
        original: what the original scores.
        smallest: what the smallest network does; the scale of what is minimised.
    """
    value: Callable[[Candidate], float] = _score
    return Objective(SCORE, "score of the task, maximised", value, Lost(original, smallest))


def divergence_objective(smallest: float) -> Objective:
    """The objective of a task's divergence; ``smallest`` is the smallest network's."""
    return replace(DIVERGENCE, minimised=Apart(smallest))


def _score(candidate: Candidate) -> float:
    return candidate.score
