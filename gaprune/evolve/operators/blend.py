"""Blend: counts between those of the parents, or a little beyond; genes that both keep go first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import lowest, noisy_standing
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Line recombination of the sections' counts on a logarithmic scale.

    One step along the line from the first parent to the second is drawn for all sections, so that what the parents
    differ in is followed in proportion (Muehlenbein, Schlierkamp-Voosen, "Predictive models for the breeder genetic
    algorithm", Evolutionary Computation 1(1), 1993: extended line recombination).

    Attributes:
        beyond: how far the step may leave the two parents, as a share of their distance.
        noise: largest blur of the order among genes that one parent keeps, as a share of the section.
    """

    beyond: float = 0.5
    noise: float = 0.1

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A child that keeps what both parents keep before what one keeps before what none keeps. See ``Crossover``."""
        step = rng.uniform(-self.beyond, 1.0 + self.beyond)
        child = np.zeros_like(a)
        for section in space.sections:
            ours, theirs = a[section.slice], b[section.slice]
            counts = [math.log(max(int(np.count_nonzero(genes)), 1)) for genes in (ours, theirs)]
            count = min(max(round(math.exp(counts[0] + step * (counts[1] - counts[0]))), 1), section.size)
            standing = noisy_standing(space, section, np.arange(section.size), self.noise, rng)
            votes = ours.astype(np.float32) + theirs
            child[section.start + lowest(-(2.0 * votes + standing), count)] = True
        return child
