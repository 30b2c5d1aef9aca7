"""The quota of a round: how many genes of each kind stay, and how a genome is brought to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gaprune.errors import OptionError
from gaprune.evolve.operators.base import lowest, noisy_standing
from gaprune.evolve.ranked import RankedSpace
from gaprune.evolve.rungs import bisect_level
from gaprune.genome import Bits, Section

NOISE = 0.1
"""Largest blur of the order of importance, as a share of a section."""

SPREAD = 0.5
"""Largest standard deviation of the logarithm of a section's exponent."""

STEPS = 20
"""Bisections of the level at which the sections together keep what they should."""

TRIES = 12
EVENLY = 6
"""Corrections of all sections, before single sections take what rounding of widths undoes."""

Counts = NDArray[np.int64]


class Quota:
    """Keeps a share of the genes of each kind, whatever the sections' parts in it.

    Of neurons as of connections (1 - share) stays; where both are genes each kind keeps the square root of that, so
    that they share the work. A connection counts while both its neurons are there.

    Args:
        space: what to search.
        share: of the genes that go, 0 up to 1.

    Raises:
        OptionError: the share is out of range.
    """

    def __init__(self, space: RankedSpace, share: float) -> None:
        if not 0 <= share < 1:
            raise OptionError(f"round-share must be at least 0 and below 1, got {share:g}")
        self._space = space
        self._kinds = list(dict.fromkeys(section.kind for section in space.sections))
        self._keep = (1.0 - share) ** (1 / len(self._kinds))

    def draw(self, rng: np.random.Generator, *, plain: bool = False) -> Bits:
        """A repaired genome within the quota, without the least important genes.

        Each section keeps the share s(t)^e, s what the space holds to suit level t, and e its own exponent.

        Args:
            rng: source of all randomness.
            plain: takes all exponents for 1, and the order of importance as it is.
        """
        spread = 0.0 if plain else SPREAD * rng.random()
        exponents = np.exp(spread * rng.standard_normal(len(self._space.sections)))

        def cut(bits: Bits, places: list[int], live: Bits, count: int) -> Bits:
            kept = _counts(bits & live, self._sections(places))
            gone = kept - self._parts(kept, exponents, places, count)
            return self._without(bits, self._sections(places), live, gone, 0.0 if plain else NOISE, rng)

        return self._meet(np.ones(self._space.layout.size, dtype=np.bool_), cut, rng)

    def meet(self, bits: Bits, rng: np.random.Generator) -> Bits:
        """``bits`` repaired and brought to the quota: too many lose their least important, too few get the best back.

        What is too much is taken from the sections in proportion to what they keep. Where widths are rounded or
        rows must keep a kernel, the quota is met as nearly as that allows.
        """
        return self._meet(bits, lambda ours, places, live, count: ours, rng)

    def _meet(self, bits: Bits, begin: Callable[[Bits, list[int], Bits, int], Bits], rng: np.random.Generator) -> Bits:
        bits = self._space.repair(bits)
        for kind in self._kinds:
            places = [i for i, section in enumerate(self._space.sections) if section.kind == kind]
            live = self._live(bits, places)
            count = round(self._keep * int(np.count_nonzero(live)))
            bits = self._settle(begin(bits, places, live, count), places, live, count, rng)
        return bits

    def _sections(self, places: list[int]) -> list[Section]:
        return [self._space.sections[place] for place in places]

    def _live(self, bits: Bits, places: list[int]) -> Bits:
        """(size,) mask of a kind's genes that say something."""
        kind = np.zeros(len(bits), dtype=np.bool_)
        for section in self._sections(places):
            kind[section.slice] = True
        return kind & self._space.live(bits)

    def _parts(self, kept: Counts, exponents: NDArray[np.float64], places: list[int], count: int) -> Counts:
        """(sections,) genes to keep of those that each section has, about ``count`` together."""

        def shares(level: float) -> NDArray[np.float64]:
            found: NDArray[np.float64] = self._space.shares(level)[places] ** exponents[places]
            return found

        _, high = bisect_level(lambda level: -1.0 if float(shares(level) @ kept) < count else 1.0, STEPS)
        return np.rint(shares(high) * kept).astype(np.int64)

    def _settle(self, bits: Bits, places: list[int], live: Bits, count: int, rng: np.random.Generator) -> Bits:
        sections = self._sections(places)
        best, miss = bits, math.inf
        for attempt in range(TRIES):
            bits = self._space.repair(bits)
            over = int(np.count_nonzero(bits & live)) - count
            if abs(over) < miss:
                best, miss = bits, abs(over)
            if over == 0:
                break
            movable = live & (bits if over > 0 else ~bits)
            moved = _spread(_counts(movable, sections), abs(over), rng, evenly=attempt < EVENLY)
            change = self._without if over > 0 else self._with
            bits = change(bits, sections, live, moved, NOISE, rng)
        return best

    def _without(
        self, bits: Bits, sections: list[Section], live: Bits, counts: Counts, noise: float, rng: np.random.Generator
    ) -> Bits:
        """A copy in which each section has lost its count of live genes, the least important ones."""
        return self._changed(bits, sections, live & bits, counts, noise, rng, value=False)

    def _with(
        self, bits: Bits, sections: list[Section], live: Bits, counts: Counts, noise: float, rng: np.random.Generator
    ) -> Bits:
        """A copy in which each section has got back its count of live genes, the most important ones."""
        return self._changed(bits, sections, live & ~bits, counts, noise, rng, value=True)

    def _changed(
        self,
        bits: Bits,
        sections: list[Section],
        movable: Bits,
        counts: Counts,
        noise: float,
        rng: np.random.Generator,
        *,
        value: bool,
    ) -> Bits:
        changed = bits.copy()
        for section, count in zip(sections, counts.tolist(), strict=True):
            if count:
                genes = np.flatnonzero(movable[section.slice])
                standing = noisy_standing(self._space, section, genes, noise, rng)
                changed[section.start + genes[lowest(-standing if value else standing, count)]] = value
        return changed


def _counts(genes: Bits, sections: list[Section]) -> Counts:
    return np.array([np.count_nonzero(genes[section.slice]) for section in sections], dtype=np.int64)


def _spread(available: Counts, count: int, rng: np.random.Generator, *, evenly: bool) -> Counts:
    """(sections,) parts of ``count``: drawn in proportion to what is available, or all from one section."""
    if not evenly and available.any():
        chosen = rng.choice(np.flatnonzero(available))
        available = np.where(np.arange(len(available)) == chosen, available, 0)
    drawn: Counts = rng.multivariate_hypergeometric(available, min(count, int(available.sum())))
    return drawn
