"""DEAP's toolbox of a search: what differs from one search to the next, each under the name that DEAP gives it."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
from deap import base

from gaprune.evolve.dominance import Indices
from gaprune.evolve.initial import Initial
from gaprune.evolve.ranked import RankedSpace
from gaprune.evolve.selection import Crowded, Selection
from gaprune.evolve.variation import Variation
from gaprune.genome import Bits, Floats, Genome


class Toolbox(Protocol):
    """What is registered in a search's ``deap.base.Toolbox``; all of it draws from the search's generator."""

    def population(self) -> list[Genome]:
        """Repaired genomes from nothing, not necessarily unseen."""
        ...

    def mate(self, a: Bits, b: Bits) -> Bits:
        """A child that one crossover makes of two parents; the caller repairs it."""
        ...

    def mutate(self, bits: Bits) -> Bits:
        """A copy that one mutation has changed; the caller repairs it."""
        ...

    def vary(self, a: Bits, b: Bits) -> Bits:
        """A child of two parents: crossed, mutated or both; the caller repairs it."""
        ...

    def parents(self, Y: Floats, violation: Floats, count: int) -> Indices:
        """See ``Selection.parents``."""
        ...

    def select(self, Y: Floats, violation: Floats, count: int) -> Indices:
        """See ``Selection.survivors``."""
        ...


def make_toolbox(
    space: RankedSpace,
    rng: np.random.Generator,
    *,
    population: int,
    initial: Initial,
    variation: Variation,
    selection: Selection | None = None,
) -> Toolbox:
    """A ``deap.base.Toolbox`` with everything that an algorithm calls.

    Args:
        space: what to search.
        rng: the search's generator.
        population: genomes of a population.
        initial: makes a population from nothing.
        variation: the operators.
        selection: who lives on and who has children; NSGA-II's way if None.
    """
    chosen, toolbox = selection or Crowded(), base.Toolbox()

    def parents(Y: Floats, violation: Floats, count: int) -> Indices:
        return chosen.parents(Y, violation, count, rng)

    def select(Y: Floats, violation: Floats, count: int) -> Indices:
        return chosen.survivors(Y, violation, count, rng)

    toolbox.register("population", initial, space, population, rng)
    toolbox.register("mate", variation.cross, space=space, rng=rng)
    toolbox.register("mutate", variation.mutate, space=space, rng=rng)
    toolbox.register("vary", variation, space=space, rng=rng)
    toolbox.register("parents", parents)
    toolbox.register("select", select)
    return cast(Toolbox, toolbox)
