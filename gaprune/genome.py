"""The genome: one packed bit vector, and the layout that says which bit keeps what.

Knows numbers only, no network: evolution works on this module alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
Floats = NDArray[np.float64]
Shares = Callable[[float], Floats]
"""From a level between 0 and 1 to the (sections,) shares of genes that are kept."""


@dataclass(frozen=True, slots=True)
class Genome:
    """The genes of one individual, packed eight to a byte. 1 keeps, 0 removes.

    Hashable and comparable by content, so it serves as a key; ``key`` is its name on disk.
    """

    packed: bytes

    @property
    def key(self) -> str:
        """First 32 hex digits of the SHA-256 of the packed bits."""
        return hashlib.sha256(self.packed).hexdigest()[:32]

    @property
    def text(self) -> str:
        """The packed bits in base64."""
        return base64.b64encode(self.packed).decode()

    @classmethod
    def of_text(cls, text: str) -> Genome:
        """The genome that ``text`` stands for; ``ValueError`` if it is no base64."""
        return cls(base64.b64decode(text, validate=True))


@dataclass(frozen=True, slots=True)
class Section:
    """A run of genes that belong together: one channel group's neurons or one convolution's connections.

    Attributes:
        name: the convolution that the genes belong to (the first of a channel group).
        kind: ``neurons`` or ``connections``.
        start: index of the first gene in the bit vector.
        size: number of genes.
    """

    name: str
    kind: Literal["neurons", "connections"]
    start: int
    size: int

    @property
    def slice(self) -> slice:
        """Where the section's genes lie in the bit vector."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Layout:
    """The sections of a genome, in order and without gaps."""

    sections: tuple[Section, ...]

    @property
    def size(self) -> int:
        """Number of genes."""
        return sum(section.size for section in self.sections)

    def pack(self, bits: Bits) -> Genome:
        """The genome of a (size,) boolean vector."""
        if bits.shape != (self.size,) or bits.dtype != np.bool_:
            raise ValueError(f"expected ({self.size},) bool, got {bits.shape} {bits.dtype}")
        return Genome(np.packbits(bits).tobytes())

    def unpack(self, genome: Genome) -> Bits:
        """The (size,) boolean vector of a genome: a fresh array, the caller's to change."""
        packed = np.frombuffer(genome.packed, dtype=np.uint8)
        if len(packed) != (self.size + 7) // 8:
            raise ValueError(f"a genome of {len(packed)} bytes does not fit a layout of {self.size} genes")
        return np.unpackbits(packed, count=self.size).astype(np.bool_)


def bent(tilt: Floats) -> Shares:
    """The ladder of a space that knows of none: each section keeps the level to a power, 1 where ``tilt`` is 0.

    Example:
        >>> bent(np.array([0.0, np.log(2.0)]))(0.25).tolist()
        [0.25, 0.5]
    """
    powers = np.exp(-tilt)

    def shares(level: float) -> Floats:
        found: Floats = level**powers
        return found

    return shares


class Space(Protocol):
    """What evolution sees of a problem: bits, their worth, their cost, and how to mend them.

    Attributes:
        layout: the sections of the bit vector.
        importance: (size,) float64, finite, larger is more worth keeping; comparable within a section only.
    """

    @property
    def layout(self) -> Layout: ...  # noqa: D102

    @property
    def importance(self) -> Floats: ...  # noqa: D102

    def repair(self, bits: Bits) -> Bits:
        """The nearest valid bit vector, canonical: genomes that mean the same network become equal.

        Idempotent, deterministic, and never changes its argument.
        """
        ...

    def live(self, bits: Bits) -> Bits:
        """(size,) mask of the genes that say something in a repaired vector: each neuron, each possible connection.

        Not the connections of its removed neurons, whose genes read 1, nor those that an earlier pruning masked.
        """
        ...

    def shares(self, level: float) -> Floats:
        """(sections,) shares of genes to keep that suit each other, rising with ``level`` from 0 to 1.

        All are ``level`` where nothing better is known; at level 1 all are 1.
        """
        ...

    def tilted(self, tilt: Floats) -> Shares:
        """``shares`` of another ladder, on which the loss of genes counts more in some sections than in others.

        Args:
            tilt: (sections,) natural logarithms of how much more; all 0 is ``shares`` itself.
        """
        ...

    def cost(self, bits: Bits) -> float:
        """Share of the whole network's FLOPs that a repaired bit vector keeps, 0 to 1; in closed form."""
        ...
