"""How a child is made of two parents: which operators, how often, and on which genes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gaprune.evolve.living import living
from gaprune.evolve.operators import Blend, Crossover, Flip, LayerWise, Mutation, OnePoint, Resize, Shift, Slide, Swap
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits

Operator = TypeVar("Operator")
Weighted = tuple[tuple[Operator, float], ...]


def _default_crossovers() -> Weighted[Crossover]:
    return (Blend(), 0.5), (LayerWise(), 0.4), (OnePoint(position=None), 0.1)


def _default_mutations() -> Weighted[Mutation]:
    return (Resize(), 0.3), (Shift(), 0.25), (Slide(), 0.2), (Swap(), 0.15), (Flip(), 0.1)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """The operators of a search and how often each is used.

    Attributes:
        crossovers: crossovers with the weights by which one is drawn.
        mutations: mutations with the weights by which one is drawn.
        crossover_rate: probability of a crossover; without one the child is a copy of the first parent.
        mutation_rate: probability that a child of a crossover is also mutated; a copy always is.
    """

    crossovers: Weighted[Crossover] = field(default_factory=_default_crossovers)
    mutations: Weighted[Mutation] = field(default_factory=_default_mutations)
    crossover_rate: float = 0.7
    mutation_rate: float = 0.7

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A fresh (size,) child of ``a`` and ``b``; the caller repairs it."""
        crossed = rng.random() < self.crossover_rate
        child = self.cross(a, b, space=space, rng=rng) if crossed else a.copy()
        if crossed and rng.random() >= self.mutation_rate:
            return child
        return self.mutate(child, space=space, rng=rng)

    def cross(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A child by one crossover drawn by weight."""
        return _applied(_drawn(self.crossovers, rng), (a, b), space, rng)

    def mutate(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy changed by one mutation drawn by weight."""
        return _applied(_drawn(self.mutations, rng), (bits,), space, rng)


def _applied(
    operator: Callable[..., Bits], parents: tuple[Bits, ...], space: RankedSpace, rng: np.random.Generator
) -> Bits:
    """What an operator makes of the genes that live in its parents."""
    seen = living(space, *parents)
    if seen is None:
        return operator(*parents, space=space, rng=rng)
    cut = [bits[seen.genes.alive] for bits in parents]
    return seen.genes.restored(operator(*cut, space=seen, rng=rng))


def _drawn(operators: Sequence[tuple[Operator, float]], rng: np.random.Generator) -> Operator:
    weights = np.array([weight for _, weight in operators])
    return operators[int(rng.choice(len(weights), p=weights / weights.sum()))][0]
