"""The accuracy below which a candidate can no longer reach the front, from what is known before it is measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gaprune.evaluate.evaluator import Evaluator
from gaprune.evaluate.objectives import ACCURACY
from gaprune.evaluate.outcome import Outcome
from gaprune.genome import Floats, Genome


class Floors:
    """What the outcomes learnt so far say of new candidates.

    A candidate is stopped only where it is dominated, by Deb's rule, now and for ever: fronts only get better.
    That is so, whatever objectives of costs stand beside accuracy,

    - at any accuracy, where its costs alone violate the constraints by more than a known network does in all;
    - below the accuracy asked for, where a known network keeps to all constraints;
    - below the accuracy of a known network that does so at costs that are nowhere higher.

    With any other objective nothing is known before measuring.

    Args:
        evaluator: knows objectives and constraints, and prices genomes.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._names = [objective.name for objective in evaluator.objectives if objective.costs_only]
        others = [objective for objective in evaluator.objectives if not objective.costs_only]
        self._compares = others == [ACCURACY] and bool(self._names)
        self._apply = self._compares or (not others and evaluator.constraints.accuracy is not None)
        self._costs: Floats = np.empty((0, len(self._names)))
        self._accuracy: Floats = np.empty(0)
        self._least_violation = math.inf

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes; failures and bounds say nothing."""
        full = [outcome for outcome in outcomes if outcome.failure is None and not outcome.bound]
        if not self._apply or not full:
            return
        self._least_violation = min(self._least_violation, *(outcome.violation for outcome in full))
        feasible = [outcome for outcome in full if outcome.violation == 0]
        if self._compares and feasible:
            costs = [[outcome.minimised[name] for name in self._names] for outcome in feasible]
            self._costs = np.concatenate([self._costs, costs])
            self._accuracy = np.append(self._accuracy, [outcome.values[ACCURACY.name] for outcome in feasible])

    def __call__(self, genomes: Sequence[Genome]) -> list[float] | None:
        """For each genome the accuracy below which it is dominated for good; ``None`` if that never applies.

        0 where no accuracy is too low, infinite where none is high enough.
        """
        return [self._floor(genome) for genome in genomes] if self._apply else None

    def _floor(self, genome: Genome) -> float:
        constraints = self._evaluator.constraints
        if constraints and self._evaluator.cost_violation(genome) > self._least_violation:
            return math.inf
        if self._least_violation > 0:
            return 0.0
        asked = constraints.accuracy or 0.0
        try:
            prices = self._evaluator.prices(genome)
        except Exception:  # a foreign objective may raise anything; evaluating the genome will say so
            return asked
        cheaper = (self._costs <= np.array([prices[name] for name in self._names])).all(axis=1)
        return float(self._accuracy[cheaper].max(initial=asked))
