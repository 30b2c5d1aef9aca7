"""The accuracy below which a candidate can no longer reach the front, from what is known before it is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from gaprune.evaluate.evaluator import Evaluator
from gaprune.evaluate.objectives import ACCURACY
from gaprune.evaluate.outcome import Outcome
from gaprune.prune.genome import Floats, Genome


class Floors:
    """What the outcomes learnt so far say of new candidates.

    A candidate whose costs are all at least those of a known network, and whose accuracy is lower, is dominated
    by it, now and for ever: fronts only get better. That holds for accuracy beside objectives of costs
    alone; with any other objective nothing is known before measuring.

    Args:
        evaluator: knows the objectives and prices genomes.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._prices = evaluator.prices
        self._names = [objective.name for objective in evaluator.objectives if objective.costs_only]
        others = [objective for objective in evaluator.objectives if not objective.costs_only]
        self._apply = others == [ACCURACY]
        self._costs: Floats = np.empty((0, len(self._names)))
        self._accuracy: Floats = np.empty(0)

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes; failures and bounds say nothing."""
        full = [outcome for outcome in outcomes if outcome.failure is None and not outcome.bound]
        if not self._apply or not full:
            return
        costs = [[outcome.minimised[name] for name in self._names] for outcome in full]
        self._costs = np.concatenate([self._costs, costs])
        self._accuracy = np.append(self._accuracy, [outcome.values[ACCURACY.name] for outcome in full])

    def __call__(self, genomes: Sequence[Genome]) -> list[float] | None:
        """For each genome the best accuracy known at no higher costs, 0 if there is none; ``None`` if none applies."""
        return [self._floor(genome) for genome in genomes] if self._apply else None

    def _floor(self, genome: Genome) -> float:
        try:
            prices = self._prices(genome)
        except Exception:  # a foreign objective may raise anything; evaluating the genome will say so
            return 0.0
        cheaper = (self._costs <= np.array([prices[name] for name in self._names])).all(axis=1)
        return float(self._accuracy[cheaper].max(initial=0.0))
