"""Initial populations: informed ones over all budgets, and uninformed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gaprune.evolve.ranked import RankedSpace, rank
from gaprune.evolve.rungs import TOLERANCE, Order, keep_first, nearest
from gaprune.genome import Bits, Genome, Space

LARGEST_BUDGET = 0.9
SMALLEST_BUDGET = 0.02
SPREAD = 0.5

ASKED_FOR = (0.5, 0.25, 0.1, 0.05)
"""Budgets that people ask for: a search has a rung at each."""

NEAR = 0.3
"""Difference of budgets, in natural logarithms, within which one may stand for the other."""


class Initial(Protocol):
    """Makes the first generation."""

    def __call__(self, space: Space, count: int, rng: np.random.Generator) -> list[Genome]:
        """``count`` repaired genomes, not necessarily all different."""
        ...


def informed(space: Space, count: int, rng: np.random.Generator, *, largest: float = 1.0) -> list[Genome]:
    """The whole network, and smaller ones that keep the most important genes, spread over all budgets.

    Random masks of a trained network are useless: all that it learnt is in the order of importance. At the budgets that
    people ask for stand the ladder's own rungs, so that there is something to hand out that costs no less than allowed.

    Args:
        space: what to search; equal importances are told apart at random.
        count: number of genomes. The first one keeps everything.
        rng: source of all randomness.
        largest: the highest cost that is of use; below 1 the whole network is left out.

    Returns:
        ``count`` repaired genomes.
    """
    ranked = rank(space)
    if largest < 1:
        return _spread(ranked, budgets(count, largest / (1 + TOLERANCE)), rng)
    whole = [ranked.layout.pack(ranked.repair(np.ones(ranked.layout.size, dtype=np.bool_)))]
    return whole[:count] + _spread(ranked, budgets(count - 1), rng)


def _spread(space: RankedSpace, spread: Sequence[float], rng: np.random.Generator) -> list[Genome]:
    """A member at each budget, rungs of the ladder where ``asked_for`` says so."""
    level, found = [1.0] * len(space.sections), []
    for budget in asked_for(spread):
        asked = budget not in spread
        member = informed_member(space, budget, rng, exponents=level if asked else None, within=asked)
        found.append(space.layout.pack(member))
    return found


def ladder(space: Space, count: int, rng: np.random.Generator) -> list[Genome]:
    """``count`` repaired genomes on the space's ladder, from the dearest budget to the cheapest."""
    ranked = rank(space)
    level = [1.0] * len(ranked.sections)
    return [ranked.layout.pack(informed_member(ranked, budget, rng, exponents=level)) for budget in budgets(count)]


def uninformed(space: Space, count: int, rng: np.random.Generator) -> list[Genome]:
    """``count`` repaired genomes of random bits, each with its own random density."""
    layout = space.layout
    return [layout.pack(space.repair(rng.random(layout.size) < rng.random())) for _ in range(count)]


def budgets(count: int, largest: float = LARGEST_BUDGET) -> list[float]:
    """``count`` costs from 0.9, or from ``largest`` if that is less, down to 0.02, evenly spaced in their square roots.

    Where ``largest`` is less than twice that, down to half of it.

    FLOPs grow with the square of the widths, so these are even steps of width: denser at the small end than
    even steps of cost, where networks change fastest, and less lopsided than a geometric series.
    """
    largest = min(largest, LARGEST_BUDGET)
    smallest = min(SMALLEST_BUDGET, largest / 2)
    widths = np.linspace(math.sqrt(largest), math.sqrt(smallest), max(0, count))
    return [float(width) ** 2 for width in widths]


def asked_for(spread: Sequence[float]) -> list[float]:
    """The same budgets with ``ASKED_FOR`` in the place of those next to them, a little below so as to keep within.

    Budgets that lie too far apart for that stay as they are, and none rises above the dearest: that may be a limit.

    Args:
        spread: costs, dearest first.

    Example:
        >>> [round(budget, 3) for budget in asked_for([0.9, 0.7, 0.52, 0.36, 0.23, 0.13, 0.06])]
        [0.9, 0.7, 0.499, 0.36, 0.249, 0.1, 0.05]
    """
    found, most = list(spread), max(spread, default=0.0)
    for wanted in ASKED_FOR:
        place = min(range(len(found)), key=lambda index: abs(math.log(found[index] / wanted)), default=0)
        below = wanted * (1 - TOLERANCE / 2)
        if below <= most and abs(math.log(found[place] / wanted)) <= NEAR:
            found[place] = below
    return sorted(found, reverse=True)


def informed_member(
    space: RankedSpace,
    budget: float,
    rng: np.random.Generator,
    *,
    exponents: Sequence[float] | None = None,
    within: bool = False,
) -> Bits:
    """A repaired vector that keeps each section's most important genes and costs about ``budget``.

    Each section keeps the share s(t)^e, s what the space holds to suit level t and e the section's own exponent, drawn
    once unless given; the common level t in [0, 1] is bisected until the cost is met within 0.5 %, or as nearly as the
    space allows; with ``within`` twice as near, and by one that costs more only where nothing cheaper is found.
    """
    orders = _orders(space, rng)
    powers = _exponents(space, rng) if exponents is None else exponents

    def member(level: float) -> Bits:
        shares = zip(space.sections, powers, space.shares(level), strict=True)
        counts = [round(share**power * section.size) for section, power, share in shares]
        return space.repair(keep_first(space.layout, orders, counts))

    return nearest(space, budget, member, tolerance=TOLERANCE / (2 if within else 1), within=within)


def halving(count: int) -> list[int]:
    """0 to ``count`` - 1 in van der Corput's order: the gaps between those before are halved again and again.

    A search that is asked for its front early has seen all budgets then.
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))


def _exponents(space: RankedSpace, rng: np.random.Generator) -> list[float]:
    """One positive exponent a section: 1 for every second member on average, spread out for the others.

    Where both kinds exist, neurons and connections share the burden in a proportion drawn for the member.
    """
    kinds = {section.kind for section in space.sections}
    burden = dict.fromkeys(kinds, 1.0)
    if len(kinds) > 1:
        neurons = rng.uniform(0.05, 0.95)
        burden = {"neurons": 2 * neurons, "connections": 2 * (1 - neurons)}
    spread = SPREAD * max(0.0, rng.uniform(-1.0, 1.0)) ** 2
    return [burden[section.kind] * math.exp(spread * rng.standard_normal()) for section in space.sections]


def _orders(space: RankedSpace, rng: np.random.Generator) -> list[Order]:
    """The genes of each section, most important first, ties in random order."""
    orders = []
    for section, tied, order in zip(space.sections, space.tied, space.orders, strict=True):
        if tied:
            place = (1.0 - space.standing[section.slice].astype(np.float64)) * (section.size - 1)
            order = np.argsort(place + rng.uniform(-0.2, 0.2, section.size))
        orders.append(order)
    return orders
