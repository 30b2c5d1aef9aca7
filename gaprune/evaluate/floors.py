"""What is known of a candidate before it is measured: where it can no longer reach the front, and whom it races."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gaprune.evaluate.evaluator import Evaluator
from gaprune.evaluate.objectives import ACCURACY
from gaprune.evaluate.outcome import Outcome
from gaprune.evaluate.racing import Floor
from gaprune.genome import Bits, Floats, Genome


class Floors:
    """What the outcomes learnt so far say of new candidates.

    A candidate is stopped only where it is dominated, by Deb's rule, now and for ever: fronts only get better.
    That is so, whatever objectives of costs stand beside accuracy,

    - at any accuracy, where its costs alone violate the constraints by more than a known network does in all;
    - below the accuracy asked for, where a known network keeps to all constraints;
    - below the accuracy of a known network that does so at costs that are nowhere higher.

    Where candidates race, each has a rival besides: of the known networks that keep to all constraints at costs that
    are nowhere higher the best one, by which it is dominated if it is worse.

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
        self._raced = evaluator.raced
        self._apply = self._apply or self._raced is not None
        self._racers: list[tuple[str, float]] = []
        self._keys: list[str] = []
        self._minimised: Floats = np.empty(0)
        self._least_violation = math.inf

    def learn(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes; failures and bounds say nothing."""
        full = [outcome for outcome in outcomes if outcome.failure is None and not outcome.bound]
        if not self._apply or not full:
            return
        self._least_violation = min(self._least_violation, *(outcome.violation for outcome in full))
        feasible = [outcome for outcome in full if outcome.violation == 0]
        if (self._compares or self._raced) and feasible:
            costs = [[outcome.minimised[name] for name in self._names] for outcome in feasible]
            self._costs = np.concatenate([self._costs, costs])
            accuracies = [outcome.values[ACCURACY.name] if self._compares else 0.0 for outcome in feasible]
            self._accuracy = np.append(self._accuracy, accuracies)
            self._note_racers(feasible)

    def _note_racers(self, feasible: Sequence[Outcome]) -> None:
        name = self._raced
        if name is not None:
            self._racers += [(outcome.marks or "", outcome.values[name]) for outcome in feasible]
            self._keys += [outcome.key for outcome in feasible]
            found = [outcome.minimised[name] if outcome.marks else np.inf for outcome in feasible]
            self._minimised = np.append(self._minimised, found)

    def __call__(self, genomes: Sequence[Genome]) -> list[Floor] | None:
        """For each genome where it is dominated for good, and its rival; ``None`` if that never applies.

        An accuracy of 0 where none is too low, infinite where none is high enough.
        """
        return [self._floor(genome) for genome in genomes] if self._apply else None

    def _floor(self, genome: Genome) -> Floor:
        constraints = self._evaluator.constraints
        if constraints and self._evaluator.cost_violation(genome) > self._least_violation:
            return Floor(math.inf)
        if self._least_violation > 0:
            return Floor()
        asked = constraints.accuracy or 0.0
        try:
            prices = self._evaluator.prices(genome)
        except KeyboardInterrupt:
            raise
        except BaseException:  # a foreign objective may raise anything; evaluating the genome will say so
            return Floor(asked)
        cheaper: Bits = np.all(self._costs <= np.array([prices[name] for name in self._names]), axis=1)
        return Floor(float(self._accuracy[cheaper].max(initial=asked)), *self._rival(cheaper))

    def _rival(self, cheaper: Bits) -> tuple[str, float] | tuple[None, float]:
        """Marks and value of the best of those that are ``cheaper``; of equals by their keys.

        The order in which outcomes were learnt, which is another with workers and after a resume, has no say.
        """
        if self._raced is None:
            return None, 0.0
        among = np.where(cheaper, self._minimised, np.inf)
        least = among.min(initial=np.inf)
        equals = np.flatnonzero(among == least) if least < np.inf else ()
        best = min(equals, key=lambda place: self._keys[place], default=None)
        return (None, 0.0) if best is None else self._racers[best]
