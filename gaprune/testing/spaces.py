"""Small spaces for tests: plain bit strings, and a chain of layers with neurons and connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from gaprune.genome import Bits, Floats, Layout, Section, Shares, bent

Kind = Literal["neurons", "connections"]


def make_layout(parts: Sequence[tuple[str, Kind, int]]) -> Layout:
    """A layout of (name, kind, size) parts in order."""
    sections, start = [], 0
    for name, kind, size in parts:
        sections.append(Section(name, kind, start, size))
        start += size
    return Layout(tuple(sections))


@dataclass(frozen=True)
class BitSpace:
    """Bits without a network: every vector is valid, no gene is known to matter, each costs the same.

    Attributes:
        layout: the sections.
    """

    layout: Layout

    @property
    def importance(self) -> Floats:
        """(size,) zeros."""
        return np.zeros(self.layout.size)

    def repair(self, bits: Bits) -> Bits:
        """A copy: nothing needs mending."""
        return bits.copy()

    def live(self, bits: Bits) -> Bits:
        """All of them."""
        return np.ones(self.layout.size, dtype=np.bool_)

    def shares(self, level: float) -> Floats:
        """The level for every section: nothing better is known."""
        return np.full(len(self.layout.sections), level)

    def tilted(self, tilt: Floats) -> Shares:
        """The level to a power of each section's own."""
        return bent(tilt)

    def cost(self, bits: Bits) -> float:
        """Share of ones."""
        return float(np.count_nonzero(bits)) / self.layout.size


@dataclass(frozen=True)
class ToyNetwork:
    """A chain of dense layers: what a pruned network's space is like, with no network behind it.

    Attributes:
        layout: the neurons of each layer, then, if there are any, the connections of each layer.
        importance: (size,) float64.
        widths: (d + 1,) inputs of the first layer, then neurons of each of the d layers.
    """

    layout: Layout
    importance: Floats
    widths: tuple[int, ...]

    @classmethod
    def make(cls, widths: Sequence[int], *, connections: bool = False, seed: int = 0) -> ToyNetwork:
        """A network of the given widths (inputs first) with lognormal importance."""
        parts: list[tuple[str, Kind, int]] = [
            (f"layer{index}", "neurons", width) for index, width in enumerate(widths[1:])
        ]
        if connections:
            sizes = [before * after for before, after in pairwise(widths)]
            parts += [(f"layer{index}", "connections", size) for index, size in enumerate(sizes)]
        layout = make_layout(parts)
        importance = np.random.Generator(np.random.PCG64(seed)).lognormal(size=layout.size)
        return cls(layout, importance, tuple(widths))

    def repair(self, bits: Bits) -> Bits:
        """No layer empty; connections of removed neurons read 1, so that equal networks are equal genomes."""
        mended = bits.copy()
        depth = len(self.widths) - 1
        for section in self.layout.sections[:depth]:
            self._keep_one(mended, section, np.ones(section.size, dtype=np.bool_))
        for index, section in enumerate(self.layout.sections[depth:]):
            alive = self._alive(mended, index).ravel()
            mended[section.slice] |= ~alive
            self._keep_one(mended, section, alive)
        return mended

    def live(self, bits: Bits) -> Bits:
        """Neurons, and connections between kept ones."""
        found = np.ones(self.layout.size, dtype=np.bool_)
        for index, section in enumerate(self.layout.sections[len(self.widths) - 1 :]):
            found[section.slice] = self._alive(bits, index).ravel()
        return found

    def shares(self, level: float) -> Floats:
        """The level for every section: nothing better is known."""
        return np.full(len(self.layout.sections), level)

    def tilted(self, tilt: Floats) -> Shares:
        """The level to a power of each section's own."""
        return bent(tilt)

    def cost(self, bits: Bits) -> float:
        """Share of the connections that are kept between kept neurons."""
        depth = len(self.widths) - 1
        kept = [self._alive(bits, index) for index in range(depth)]
        for index, section in enumerate(self.layout.sections[depth:]):
            kept[index] = kept[index] & bits[section.slice].reshape(kept[index].shape)
        return sum(int(np.count_nonzero(layer)) for layer in kept) / sum(layer.size for layer in kept)

    def evaluate(self, bits: Bits) -> Floats:
        """(2,) objectives, minimised: what the removed genes were worth, squared by section, and the cost."""
        lost = 0.0
        for section in self.layout.sections:
            worth = self.importance[section.slice]
            lost += (1.0 - float(worth @ bits[section.slice]) / float(worth.sum())) ** 2
        return np.array([lost, self.cost(bits)])

    def _alive(self, bits: Bits, index: int) -> Bits:
        """(out, in) connections of a layer between kept neurons."""
        outgoing = bits[self.layout.sections[index].slice]
        before = self.layout.sections[index - 1].slice if index else None
        incoming = np.ones(self.widths[0], dtype=np.bool_) if before is None else bits[before]
        return outgoing[:, None] & incoming[None, :]

    def _keep_one(self, bits: Bits, section: Section, eligible: Bits) -> None:
        genes = bits[section.slice]
        if not (genes & eligible).any():
            worth = np.where(eligible, self.importance[section.slice], -np.inf)
            genes[int(np.argmax(worth))] = True
