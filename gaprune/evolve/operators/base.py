"""What an operator is, and the choices that operators share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gaprune.evolve.ranked import RankedSpace
from gaprune.genome import Bits, Section

Indices = NDArray[np.intp]


class Crossover(Protocol):
    """Makes one child of two parents."""

    def __call__(self, a: Bits, b: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A fresh (size,) vector that aliases neither parent; the caller repairs it."""
        ...


class Mutation(Protocol):
    """Makes a changed copy of one individual."""

    def __call__(self, bits: Bits, *, space: RankedSpace, rng: np.random.Generator) -> Bits:
        """A fresh (size,) vector that does not alias ``bits``; the caller repairs it.

        Equal to ``bits`` only where the mutation finds nothing to change.
        """
        ...


def pick_sections(sections: tuple[Section, ...], mean: float, rng: np.random.Generator) -> list[Section]:
    """Some sections, about ``mean`` of them, never none."""
    chosen = rng.random(len(sections)) < (mean - 1) / max(1, len(sections) - 1)
    chosen[rng.integers(len(sections))] = True
    return [sections[index] for index in np.flatnonzero(chosen)]


def noisy_standing(
    space: RankedSpace, section: Section, genes: Indices, noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(k,) standings of ``genes`` (indices within the section), blurred so that neighbours change places.

    The blur is uniform with a width drawn between a tenth of ``noise`` and all of it: some calls follow the
    order of importance closely, some loosely, and ties always fall at random.
    """
    width = noise * rng.uniform(0.1, 1.0)
    blur = rng.random(len(genes), dtype=np.float32)
    blur *= np.float32(width)
    blur += space.standing[section.slice][genes]
    return blur


def lowest(scores: NDArray[Any], count: int) -> Indices:
    """Positions of the ``count`` lowest scores, in no order."""
    if count >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(scores, count)[:count]


def resized(
    genes: Bits, count: int, space: RankedSpace, section: Section, noise: float, rng: np.random.Generator
) -> None:
    """Keep ``count`` of a section's ``genes``, in place: drop the least important kept, add the most important others.

    Args:
        genes: (size,) view of the section's genes.
        count: how many to keep; none at least and all at most.
        space: knows the order.
        section: whose genes they are.
        noise: largest blur of the order, as a share of the section.
        rng: source of all randomness.
    """
    missing = min(max(count, 0), section.size) - int(np.count_nonzero(genes))
    if missing == 0:
        return
    movable = np.flatnonzero(genes != (missing > 0))
    scores = noisy_standing(space, section, movable, noise, rng)
    genes[movable[lowest(-scores if missing > 0 else scores, abs(missing))]] = missing > 0
