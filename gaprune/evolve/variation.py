"""How a child is made of two parents: which operators, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gaprune.evolve.operators import Crossover, Flip, LayerWise, Mutation, Resize, Shift, Swap
from gaprune.evolve.ranked import RankedSpace
from gaprune.prune.genome import Bits


def _default_mutations() -> tuple[tuple[Mutation, float], ...]:
    return (Resize(), 0.4), (Shift(), 0.25), (Swap(), 0.2), (Flip(), 0.15)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """The operators of a search and how often each is used.

    Attributes:
        crossover: makes a child of two parents.
        mutations: mutations with the weights by which one is drawn.
        crossover_rate: probability of a crossover; without one the child is a copy of the first parent.
        mutation_rate: probability that a child of a crossover is also mutated; a copy always is.
    """

    crossover: Crossover = field(default_factory=LayerWise)
    mutations: tuple[tuple[Mutation, float], ...] = field(default_factory=_default_mutations)
    crossover_rate: float = 0.9
    mutation_rate: float = 0.8

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A fresh (size,) child of ``a`` and ``b``; the caller repairs it."""
        crossed = rng.random() < self.crossover_rate
        child = self.crossover(a, b, space=space, rng=rng) if crossed else a.copy()
        if crossed and rng.random() >= self.mutation_rate:
            return child
        return self.mutate(child, space=space, rng=rng)

    def mutate(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy changed by one mutation drawn by weight."""
        weights = np.array([weight for _, weight in self.mutations])
        index = int(rng.choice(len(weights), p=weights / weights.sum()))
        return self.mutations[index][0](bits, space=space, rng=rng)
