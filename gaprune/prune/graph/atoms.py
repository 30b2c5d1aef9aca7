"""Atoms: the single indices of tensor axes, and the equivalence that the computation forces on them.

An axis of length n carries n atoms. Whatever makes two indices live or die together (an addition, a batch
norm, a depthwise convolution, the same parameter used twice) unites their atoms; concatenation, flattening
and broadcasting only rearrange arrays of atoms. A class of atoms that some convolution produces is a neuron.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Atoms = NDArray[np.int64]


class AtomTable:
    """Union-find over atoms, with a reason for each class that must stay."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}

    def new(self, count: int) -> Atoms:
        """(count,) fresh atoms, each a class of its own."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def find(self, atom: int) -> int:
        """The representative of an atom's class."""
        parent = self._parent
        root = atom
        while parent[root] != root:
            root = parent[root]
        while parent[atom] != root:
            parent[atom], atom = root, parent[atom]
        return root

    def roots(self, atoms: Atoms) -> Atoms:
        """The representatives of many atoms, same shape."""
        return np.fromiter((self.find(int(a)) for a in atoms), dtype=np.int64, count=len(atoms))

    def unite(self, left: Atoms, right: Atoms) -> None:
        """Unite two equally long arrays index by index; a frozen class freezes what joins it."""
        if len(left) != len(right):
            raise ValueError(f"cannot unite axes of {len(left)} and {len(right)} atoms")
        for a, b in zip(left, right, strict=True):
            root, child = sorted((self.find(int(a)), self.find(int(b))))
            if root != child:
                self._parent[child] = root
                if child in self._frozen:
                    self._frozen.setdefault(root, self._frozen.pop(child))

    def freeze(self, atoms: Atoms, reason: str) -> None:
        """Mark the classes of these atoms as never to be removed; the first reason stays."""
        for atom in atoms:
            self._frozen.setdefault(self.find(int(atom)), reason)

    def frozen(self, atom: int) -> str | None:
        """Why an atom's class must stay, or ``None`` when it may go."""
        return self._frozen.get(self.find(atom))
