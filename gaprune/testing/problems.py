"""Problems on bit strings whose whole front is known: LOTZ, OneMinMax and ZDT5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gaprune.prune.genome import Bits, Floats, Genome
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


def _bits(size: int, sections: int) -> BitSpace:
    """``size`` bits in sections of about equal size."""
    ends = np.linspace(0, size, sections + 1).round().astype(int)
    return BitSpace(make_layout([(f"part{index}", "neurons", int(n)) for index, n in enumerate(np.diff(ends))]))


def _steps(size: int) -> Floats:
    """(size + 1, 2) objectives (-i, i - size), sorted by the first."""
    ones = np.arange(size, -1.0, -1.0)
    return np.stack([-ones, ones - size], axis=1)
