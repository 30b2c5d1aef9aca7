"""A space with its genes ranked by importance, once, for all operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gaprune.evolve.rungs import STEPS, Order, bisect_level, keep_first
from gaprune.genome import Bits, Floats, Layout, Section, Shares, Space

Ranks = NDArray[np.float32]

RUNGS = 33
"""Levels at which the ladder's cost is known; between them it is interpolated."""


@dataclass(frozen=True)
class RankedSpace:
    """What the operators see: a ``Space`` and where each gene stands in its section.

    Attributes:
        space: the space that was ranked.
        standing: (size,) float32, 0 for the least and 1 for the most important gene of a section, evenly
            spread between; equally important genes share their mean.
        tied: for each section, whether some of its genes are equally important.
    """

    space: Space
    standing: Ranks
    tied: tuple[bool, ...]

    @property
    def layout(self) -> Layout:
        """The layout of the space."""
        return self.space.layout

    @property
    def sections(self) -> tuple[Section, ...]:
        """The sections of the layout."""
        return self.space.layout.sections

    @property
    def importance(self) -> Floats:
        """The importance that the space states."""
        return self.space.importance

    def repair(self, bits: Bits) -> Bits:
        """See ``Space.repair``."""
        return self.space.repair(bits)

    def live(self, bits: Bits) -> Bits:
        """See ``Space.live``."""
        return self.space.live(bits)

    def shares(self, level: float) -> Floats:
        """See ``Space.shares``."""
        return self.space.shares(level)

    def tilted(self, tilt: Floats) -> Shares:
        """See ``Space.tilted``."""
        return self.space.tilted(tilt)

    def level(self, cost: float) -> float:
        """The level from 0 to 1 at which the ladder, most important genes first, has a cost."""
        levels, costs = self._rungs
        return float(np.interp(cost, costs, levels))

    @cached_property
    def orders(self) -> list[Order]:
        """For each section its genes, most important first."""
        return [np.argsort(-self.standing[section.slice], kind="stable") for section in self.sections]

    def rung(self, level: float, shares_of: Shares | None = None) -> Bits:
        """A repaired vector that keeps the most important genes of each section, as many as suit ``level``.

        ``shares_of`` is another ladder than the space's own.
        """
        shares = zip(self.sections, (shares_of or self.shares)(level), strict=True)
        counts = [max(1, round(float(share) * section.size)) for section, share in shares]
        return self.repair(keep_first(self.layout, self.orders, counts))

    @cached_property
    def _rungs(self) -> tuple[Floats, Floats]:
        levels = np.linspace(0.0, 1.0, RUNGS)
        costs = [self.cost(self.rung(float(level))) for level in levels]
        return levels, np.maximum.accumulate(costs)

    def cost(self, bits: Bits) -> float:
        """See ``Space.cost``."""
        return self.space.cost(bits)


def rank(space: Space) -> RankedSpace:
    """Rank the genes of ``space`` within their sections; a ranked space is returned as it is.

    Raises:
        ValueError: the layout has no section or an empty one, or the importance has a wrong shape or is not
            finite.
    """
    if isinstance(space, RankedSpace):
        return space
    layout, importance = space.layout, space.importance
    if not layout.sections or any(section.size < 1 for section in layout.sections):
        raise ValueError("a space needs at least one section, and each section at least one gene")
    if importance.shape != (layout.size,) or not np.isfinite(importance).all():
        raise ValueError(f"importance must be ({layout.size},) finite numbers, got {importance.shape}")
    parts = [_standing(importance[section.slice]) for section in layout.sections]
    return RankedSpace(space, np.concatenate([part for part, _ in parts]), tuple(tied for _, tied in parts))


def largest_cost(space: Space, allowed: Callable[[Bits], bool]) -> float:
    """The cost of the largest network on the ladder that is allowed; of the smallest where none is.

    Genes of equal importance stay or go together here, so that chance has no say.

    Args:
        space: what to search.
        allowed: whether a repaired vector keeps to the limits; where one rung does, each smaller one must.
    """
    ranked = rank(space)
    sizes = [section.size for section in ranked.sections]

    def rung(level: float) -> Bits:
        return ranked.repair(ranked.standing >= 1 - np.repeat(ranked.shares(level), sizes))

    low, _ = bisect_level(lambda level: -1.0 if allowed(rung(level)) else 1.0, STEPS)
    return ranked.cost(rung(low))


def _standing(importance: Floats) -> tuple[Ranks, bool]:
    """(n,) mean ranks from 0 to 1, and whether any are equal; 0.5 where there is nothing to tell apart."""
    _, group, counts = np.unique(importance, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts + 1) / 2
    scaled = mean_rank / (len(importance) - 1) if len(counts) > 1 else np.full(1, 0.5)
    return scaled.astype(np.float32)[group], len(counts) < len(importance)
