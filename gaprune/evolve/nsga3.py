"""NSGA-III: NSGA-II with niches around reference directions in place of crowding distances."""

from __future__ import annotations

from typing import Any

from gaprune.evolve.dominance import reference_directions
from gaprune.evolve.nsga2 import NSGA2
from gaprune.evolve.selection import Niched
from gaprune.genome import Space

DIRECTIONS = 2
"""Reference directions a genome: where objectives go together the front passes by some of them."""


def nsga3(space: Space, *, objectives: int = 3, population: int = 30, **options: Any) -> NSGA2:
    """An algorithm for three and more objectives, with about as many directions as parents and children.

    Deb, Jain, "An evolutionary many-objective optimization algorithm using reference-point-based nondominated sorting
    approach, part I", IEEE TEVC 18(4), 2014. Other than there, parents compete for children, and directions outnumber
    genomes.

    Args:
        space: what to search.
        objectives: number of objectives, all minimised.
        population: parents, and children a generation; at least 4.
        **options: any other of ``NSGA2``.

    Raises:
        OptionError: the population is too small.
    """
    selection = Niched(reference_directions(objectives, DIRECTIONS * population))
    return NSGA2(space, objectives=objectives, population=population, selection=selection, name="nsga3", **options)
