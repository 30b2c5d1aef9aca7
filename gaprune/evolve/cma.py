"""CMA-ES on whole ladders: how much the errors of each section count, judged at several budgets at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from deap.cma import Strategy
from threadpoolctl import threadpool_limits

from gaprune.evolve.algorithm import Algorithm, AlgorithmState
from gaprune.evolve.dominance import fitness_class
from gaprune.evolve.initial import ASKED_FOR, LARGEST_BUDGET, SMALLEST_BUDGET, asked_for, budgets, halving
from gaprune.evolve.ledger import Ledger
from gaprune.evolve.operators import Shift, Swap
from gaprune.evolve.ranked import rank
from gaprune.evolve.rungs import TOLERANCE, nearest
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits, Floats, Genome, Space

SIGMA = 0.15
"""First step, in natural logarithms of what an error counts: the ladder is a good start, and far away is worse."""

MOST_SIGMA = 0.3
"""Widest step: where noise decides who is better, the step would grow for no reason."""

FURTHEST = 2.0
"""Largest tilt, in natural logarithms."""

BUDGETS = 3
"""Budgets that a ladder is judged at, where the population is large enough."""

LADDERS = 6
"""Ladders a generation at least, before more budgets are taken."""

JUDGED = (0.03, 0.5)
"""The cheapest and the dearest budget that a ladder is judged at: beyond, ladders differ in chance and noise alone."""

FADING = 0.7
"""What earlier slopes count for from one generation to the next."""

CLOSE = 0.001
"""Difference of cost between ladders at one budget that is near enough, as a share of it."""

GOLDEN = 0.6180339887498949
"""Steps by this share of a stretch visit all of it evenly, however many there are."""

STRATEGY = ("centroid", "sigma", "pc", "ps", "C", "B", "diagD", "update_count")
"""What a strategy of DEAP's has learnt."""

NUDGES = Variation(mutations=((Shift(), 0.6), (Swap(), 0.4)))
"""Changes that keep the cost or the counts."""


class _Ladder(np.ndarray):
    """A tilt as DEAP has individuals: numbers with a fitness."""

    fitness: Any


class CMA(Algorithm):
    """Evolution of the ladder itself: few numbers decide the widths of all sections at all budgets.

    An individual is a tilt: for each section the logarithm of how much its errors count when the ladder is walked.
    All 0 is the space's own ladder, whose rungs are the first generation. In each later one some ladders are drawn
    around the mean in mirrored pairs, one goes down the slopes that the generations before have shown, and each is
    judged by its rungs at the same few budgets, in turns those that people ask for; the mean's own rungs, at budgets
    that move from generation to generation, are among the candidates. A ladder's fitness is the sum over budgets of the
    objectives, each as a share of the generation's mean there, violations first.

    Hansen, Ostermeier, "Completely derandomized self-adaptation in evolution strategies", Evolutionary Computation
    9(2), 2001, as DEAP has it. Several budgets a candidate: SnapViT, arXiv:2510.17700; multipliers on errors: SPDY,
    arXiv:2201.13096.

    A genome stays what is evaluated, logged and resumed. Which genes a section keeps is left to the order of
    importance.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised.
        population: genomes a generation; at least 4.
        seed: of the one generator.
        largest: the highest cost that is of use; below 1 the whole network is left out.
        sigma: first step, in natural logarithms.
        name: in saved states, which fit an algorithm of the same name only.

    Raises:
        OptionError: the population is too small.
    """

    def __init__(
        self,
        space: Space,
        *,
        objectives: int = 2,
        population: int = 30,
        seed: int = 0,
        largest: float = 1.0,
        sigma: float = SIGMA,
        name: str = "cma",
    ) -> None:
        self._ledger = Ledger(name, space.layout, objectives=objectives, population=population, seed=seed)
        self._space = rank(space)
        self._largest = largest
        self._budgets = min(BUDGETS, max(1, population // (LADDERS + 1)))
        self._count = population // self._budgets - 1
        self._strategy = Strategy(np.zeros(len(self._space.sections)), sigma, lambda_=self._count)
        self._slopes: Floats = np.zeros(len(self._space.sections))
        self._ladders: Floats = np.empty((0, len(self._space.sections)))

    @property
    def generation(self) -> int:
        """See ``Algorithm.generation``."""
        return self._ledger.generation

    @property
    def tilt(self) -> Floats:
        """(sections,) the mean ladder as it is now."""
        return np.array(self._strategy.centroid, dtype=np.float64)

    def drawn_seed(self) -> int:
        """A seed for a search that follows this one, drawn from its generator."""
        return int(self._ledger.rng.integers(2**32))

    def ask(self) -> list[Genome]:
        """See ``Algorithm.ask``."""
        return self._ledger.ask(self._later if self.generation else self._first)

    def _first(self) -> list[Genome]:
        whole = self._largest >= 1
        full = [self._admitted(self._space.repair(np.ones(self._space.layout.size, dtype=np.bool_)))] * whole
        genomes = full + self._rungs(np.zeros(len(self._space.sections)), self._everywhere(whole))
        return [genomes[index] for index in halving(self._ledger.population)]

    def mean_rungs(self) -> list[Genome]:
        """Rungs of the mean ladder at the budgets of the first generation, and one between the two dearest."""
        spread = self._everywhere(self._largest >= 1)
        between = [float(np.sqrt(spread[0] * spread[1]))] * (self._ledger.population - len(spread))
        genomes = self._rungs(self.tilt, [*spread, *between])
        return [genomes[index] for index in halving(self._ledger.population)]

    def _everywhere(self, whole: bool) -> list[float]:
        """Budgets over all of the range, dearest first, with those among them that people ask for."""
        count = self._ledger.population - whole
        return asked_for(budgets(count, self._largest if whole else self._largest / (1 + TOLERANCE)))

    def _later(self) -> list[Genome]:
        """The drawn ladders' rungs, ladder by ladder, then some of the mean's."""
        self._ladders = self._drawn()
        places = self._places(self._budgets)
        genomes = [genome for tilt in self._ladders for genome in self._rungs(tilt, places)]
        left = self._ledger.population - len(genomes)
        return genomes + self._rungs(self.tilt, self._spread(left))

    def _drawn(self) -> Floats:
        """(ladders, sections) mirrored pairs around the mean; of an odd number the last goes down the slopes."""
        strategy, count = self._strategy, self._count
        with threadpool_limits(limits=1, user_api="blas"):
            steps = self._ledger.rng.standard_normal(((count + 1) // 2, strategy.dim)) @ strategy.BD.T
        if count % 2 and self._slopes.any():
            steps[-1] = -np.sqrt(strategy.dim) * self._slopes / np.sqrt((self._slopes**2).sum())
        pairs = np.stack([steps, -steps], axis=1).reshape(-1, strategy.dim)[:count]
        drawn: Floats = np.clip(strategy.centroid + strategy.sigma * pairs, -FURTHEST, FURTHEST)
        return drawn

    def _places(self, count: int) -> list[float]:
        """Budgets to judge ladders at: those that people ask for, in turns, so that what is judged may be handed out.

        A rung that costs a twentieth less loses more than ladders differ by, so few of other budgets ever would.
        """
        low, high = JUDGED[0], min(JUDGED[1], self._largest / (1 + TOLERANCE))
        asked = [budget for budget in asked_for(ASKED_FOR) if low <= budget < high]
        places = [high, *asked] if self._largest < JUDGED[1] else asked
        if len(places) < count:
            return self._spread(count, *JUDGED)
        return [places[(self.generation + turn) % len(places)] for turn in range(count)]

    def _spread(self, count: int, least: float = SMALLEST_BUDGET, most: float = LARGEST_BUDGET) -> list[float]:
        """Budgets, one in each equal part of the range's logarithm, each generation elsewhere in its part."""
        high = min(most, self._largest / (1 + TOLERANCE))
        low = min(least, high / 2)
        shift = (0.5 + GOLDEN * self.generation) % 1.0
        shares = (np.arange(count) + shift) / max(count, 1)
        return [float(budget) for budget in np.exp(np.log(low) + shares * np.log(high / low))]

    def _rungs(self, tilt: Floats, spread: Sequence[float]) -> list[Genome]:
        space, shares = self._space, self._space.tilted(tilt)
        rungs = [
            nearest(space, budget, lambda level: space.rung(level, shares), tolerance=CLOSE, within=True)
            for budget in spread
        ]
        return [self._admitted(bits) for bits in rungs]

    def _admitted(self, bits: Bits) -> Genome:
        """A rung noted; one that was asked for before is changed a little, at about the same cost."""
        space, rng = self._space, self._ledger.rng
        _, genome = self._ledger.unseen(bits, lambda known: space.repair(NUDGES.mutate(known, space=space, rng=rng)))
        self._ledger.note(genome)
        return genome

    def tell(
        self,
        genomes: Sequence[Genome],
        Y: Floats,
        violation: Floats | None = None,
        *,
        expected: Floats | None = None,
    ) -> None:
        """See ``Algorithm.tell``."""
        values, violations = self._ledger.tell(genomes, Y, violation)
        if not len(self._ladders):
            return
        if expected is not None:
            guesses = np.asarray(expected, dtype=np.float64)
            values = np.where(np.isfinite(guesses) & np.isfinite(values), guesses, values)
        self._learn(self._fitnesses(values, violations))
        self._ladders = self._ladders[:0]

    def _fitnesses(self, values: Floats, violations: Floats) -> Floats:
        """(ladders, 2) violation and objectives of each ladder, smaller is better; infinite where a rung failed."""
        shape = (self._count, self._budgets)
        rungs = values[: self._count * self._budgets].reshape(*shape, -1)
        broken = violations[: self._count * self._budgets].reshape(shape)
        sound: Bits = np.asarray(np.isfinite(rungs).all(axis=(1, 2)))
        if not sound.any():
            return np.full((self._count, 2), np.inf)
        means = rungs[sound].mean(axis=0)
        parts = np.where(means > 0, rungs / np.where(means > 0, means, 1.0), 0.0).sum(axis=(1, 2))
        return np.where(sound[:, None], np.column_stack([broken.sum(axis=1), parts]), np.inf)

    def _learn(self, told: Floats) -> None:
        """Move the mean, the step and the covariance; not at all where too few of the ladders are sound."""
        if np.count_nonzero(np.isfinite(told).all(axis=1)) < self._strategy.mu:
            return
        self._follow(told)
        individuals = []
        for tilt, row in zip(self._ladders, told, strict=True):
            individual = tilt.view(_Ladder)
            individual.fitness = fitness_class(2)(row.tolist())
            individuals.append(individual)
        with threadpool_limits(limits=1, user_api="blas"):
            self._strategy.update(individuals)
        self._settle(**{name: getattr(self._strategy, name) for name in STRATEGY})
        self._strategy.sigma = min(self._strategy.sigma, MOST_SIGMA)

    def _follow(self, told: Floats) -> None:
        """Learn the slopes of the ladders that violate least, as far as their departures go."""
        equal = told[:, 0] == told[:, 0].min()
        away = self._ladders[equal] - self._ladders[equal].mean(axis=0)
        worse = told[equal, 1] - told[equal, 1].mean()
        scale = float((away**2).sum())
        if scale > 0:
            self._slopes = FADING * self._slopes + (away * worse[:, None]).sum(axis=0) / scale

    def _settle(self, **learnt: Any) -> None:
        """Give the strategy what was learnt, its arrays in one order of memory, on which the last digits depend."""
        strategy = self._strategy
        for name, value in learnt.items():
            setattr(strategy, name, np.array(value, dtype=np.float64, order="C"))
        strategy.sigma, strategy.update_count = float(strategy.sigma), int(strategy.update_count)
        strategy.BD = strategy.B * strategy.diagD

    def front(self) -> tuple[list[Genome], Floats]:
        """See ``Algorithm.front``."""
        return self._ledger.front()

    def rungs(self) -> list[Genome]:
        """See ``Algorithm.rungs``."""
        return list(self._ledger.start)

    def state(self) -> AlgorithmState:
        """See ``Algorithm.state``."""
        state = self._ledger.state()
        learnt = {f"strategy_{name}": np.array(getattr(self._strategy, name), np.float64) for name in STRATEGY}
        state.arrays.update(learnt, slopes=self._slopes.copy(), ladders=self._ladders.copy())
        return state

    def restore(self, state: AlgorithmState) -> None:
        """See ``Algorithm.restore``."""
        self._ledger.restore(state)
        self._settle(**{name: state.arrays[f"strategy_{name}"] for name in STRATEGY})
        self._slopes = np.array(state.arrays["slopes"], dtype=np.float64)
        self._ladders = np.array(state.arrays["ladders"], dtype=np.float64)
