"""Swap: kept and removed genes of near-equal importance change places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaprune.evolve.operators.base import Indices, noisy_standing, pick_sections
from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits, Section


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Changes which genes some sections keep, and never how many.

    A sample of kept and of removed genes is put in noisy order of importance; neighbours of which one is kept
    and one removed may swap.

    Attributes:
        sections: mean number of sections that change.
        strength: largest share of such neighbours that swaps; one pair swaps at least.
        noise: largest blur of the order, as a share of the section.
        sample: most genes of either state that are considered, so that huge sections stay cheap.
    """

    sections: float = 1.5
    strength: float = 0.3
    noise: float = 0.1
    sample: int = 4096

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A copy with the same count in every section. See ``Mutation``."""
        child = bits.copy()
        mixed = tuple(section for section in space.sections if _is_mixed(bits, section))
        for section in pick_sections(mixed, self.sections, rng) if mixed else ():
            genes = child[section.slice]
            first, second = self._neighbours(genes, section, space, rng)
            count = max(1, round(self.strength * rng.random() * len(first)))
            chosen = rng.choice(len(first), count, replace=False)
            genes[first[chosen]] ^= True
            genes[second[chosen]] ^= True
        return child

    def _neighbours(
        self, genes: Bits, section: Section, space: RankedSpace, rng: np.random.Generator
    ) -> tuple[Indices, Indices]:
        """Disjoint pairs of neighbours in noisy order, one kept and one removed; never none."""
        pool = np.concatenate([self._some(np.flatnonzero(genes == state), rng) for state in (True, False)])
        pool = pool[np.argsort(noisy_standing(space, section, pool, self.noise, rng))]
        kept = genes[pool]
        start = int(rng.integers(2))
        left = np.arange(start, len(pool) - 1, 2)
        left = left[kept[left] != kept[left + 1]]
        if not len(left):
            left = np.flatnonzero(kept[:-1] != kept[1:])[:1]
        return pool[left], pool[left + 1]

    def _some(self, genes: Indices, rng: np.random.Generator) -> Indices:
        if len(genes) <= self.sample:
            return genes
        return genes[rng.choice(len(genes), self.sample, replace=False)]


def _is_mixed(bits: Bits, section: Section) -> bool:
    return 0 < int(np.count_nonzero(bits[section.slice])) < section.size
