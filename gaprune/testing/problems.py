"""Problems on bit strings whose whole front is known: LOTZ, OneMinMax, ZDT5, and DTLZ2 for many objectives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gaprune.genome import Bits, Floats, Genome
from gaprune.testing.spaces import BitSpace, make_layout


@dataclass(frozen=True)
class Problem:
    """A space, objectives on it, and the answer.

    Attributes:
        space: bits in several sections, without importance.
        evaluate: (size,) bits to (m,) objectives, minimised.
        front: (k, m) objectives of the whole Pareto front, sorted by the first.
        reference: (m,) point worse than any objectives, for hypervolumes.
    """

    space: BitSpace
    evaluate: Callable[[Bits], Floats]
    front: Floats
    reference: Floats

    def objectives(self, genomes: list[Genome]) -> Floats:
        """(n, m) objectives of n genomes."""
        unpack = self.space.layout.unpack
        return np.array([self.evaluate(unpack(genome)) for genome in genomes])


def one_min_max(size: int = 20, *, sections: int = 4) -> Problem:
    """OneMinMax: as many ones as possible and as many zeros; every genome is on the front.

    Giel, Lehre, "On the effect of populations in evolutionary multi-objective optimisation", 2010.
    """

    def evaluate(bits: Bits) -> Floats:
        ones = int(np.count_nonzero(bits))
        return np.array([-ones, ones - size], dtype=np.float64)

    return Problem(_bits(size, sections), evaluate, _steps(size), np.ones(2))


def lotz(size: int = 16, *, sections: int = 4) -> Problem:
    """LOTZ: many leading ones and many trailing zeros; the front is 1^i 0^(size - i).

    Laumanns, Thiele, Zitzler, Welzl, Deb, "Running time analysis of multi-objective evolutionary algorithms
    on a simple discrete optimization problem", PPSN 2002.
    """

    def evaluate(bits: Bits) -> Floats:
        leading = int(np.argmin(np.append(bits, False)))
        trailing = int(np.argmax(np.append(bits[::-1], True)))
        return np.array([-leading, -trailing], dtype=np.float64)

    return Problem(_bits(size, sections), evaluate, _steps(size), np.ones(2))


def zdt5(*, blocks: int = 10, twist: int | None = None) -> Problem:
    """ZDT5: a block of 30 bits, and deceptive blocks of 5 that want all ones but lead to all zeros.

    Zitzler, Deb, Thiele, "Comparison of multiobjective evolutionary algorithms: empirical results",
    Evolutionary Computation 8(2), 2000. Each block is a section.

    Args:
        blocks: number of deceptive blocks; the original has 10.
        twist: seed of a fixed vector that all bits are compared with before they count, so that the genome of
            all ones, which each informed population contains, is not a perfect one. None: the original.
    """
    parts = [("head", "neurons", 30), *((f"block{index}", "neurons", 5) for index in range(blocks))]
    space = BitSpace(make_layout([(name, "neurons", size) for name, _, size in parts]))
    mask = np.zeros(space.layout.size, dtype=np.bool_)
    if twist is not None:
        mask = np.random.Generator(np.random.PCG64(twist)).random(space.layout.size) < 0.5

    def evaluate(bits: Bits) -> Floats:
        plain = bits ^ mask
        head = 1.0 + np.count_nonzero(plain[:30])
        ones = np.count_nonzero(plain[30:].reshape(blocks, 5), axis=1)
        return np.array([head, np.where(ones == 5, 1, 2 + ones).sum() / head])

    head = np.arange(1.0, 32.0)
    return Problem(space, evaluate, np.stack([head, blocks / head], axis=1), np.array([32.0, 6.0 * blocks + 1]))


def dtlz2(objectives: int = 3, *, steps: int = 16, distances: int = 5, twist: int | None = None) -> Problem:
    """DTLZ2: angles say where on the unit sphere, distance variables how far outside it; the front is the sphere.

    Deb, Thiele, Laumanns, Zitzler, "Scalable multi-objective optimization test problems", CEC 2002. Each variable is a
    section of bits and its value the share of ones.

    Args:
        objectives: number of objectives, at least 2.
        steps: bits of a variable, an even number: a distance variable is right with half of them.
        distances: number of distance variables.
        twist: seed of a fixed vector that all bits are compared with before they count, so that genomes with as many
            ones in each section, which each informed population contains, are not nearly perfect. None: the original.
    """
    angles = objectives - 1
    parts = [f"angle{index}" for index in range(angles)] + [f"distance{index}" for index in range(distances)]
    space = BitSpace(make_layout([(name, "neurons", steps) for name in parts]))
    mask = np.zeros(space.layout.size, dtype=np.bool_)
    if twist is not None:
        mask = np.random.Generator(np.random.PCG64(twist)).random(space.layout.size) < 0.5

    def evaluate(bits: Bits) -> Floats:
        values = (bits ^ mask).reshape(-1, steps).mean(axis=1)
        return (1.0 + float(np.sum((values[angles:] - 0.5) ** 2))) * _on_sphere(values[:angles])

    lattice = itertools.product(np.arange(steps + 1) / steps, repeat=angles)
    front = np.unique([_on_sphere(np.array(point)) for point in lattice], axis=0)
    return Problem(space, evaluate, front, np.full(objectives, 1.0 + 0.25 * distances + 0.1))


def _on_sphere(values: Floats) -> Floats:
    """(m,) point of the unit sphere's positive part, of (m - 1,) angles as shares of a right angle."""
    angles = values * (np.pi / 2)
    cosines = np.append(1.0, np.cumprod(np.cos(angles)))[::-1]
    point: Floats = cosines * np.append(1.0, np.sin(angles[::-1]))
    return point


def _bits(size: int, sections: int) -> BitSpace:
    """``size`` bits in sections of about equal size."""
    ends = np.linspace(0, size, sections + 1).round().astype(int)
    return BitSpace(make_layout([(f"part{index}", "neurons", int(n)) for index, n in enumerate(np.diff(ends))]))


def _steps(size: int) -> Floats:
    """(size + 1, 2) objectives (-i, i - size), sorted by the first."""
    ones = np.arange(size, -1.0, -1.0)
    return np.stack([-ones, ones - size], axis=1)
