"""Atoms: the single indices of tensor axes, and the equivalence that the computation forces on them.

An axis of length n carries n atoms. Whatever makes two indices live or die together (an addition, a batch
norm, a depthwise convolution, the same parameter used twice) unites their atoms; concatenation, flattening
and broadcasting only rearrange arrays of atoms. A class of atoms that some layer produces is a neuron.

Where two axes that both carry neurons are laid out as one (heads and the features of a head), an index of the whole
is there while both of its parts are: its class is joint, and the parts are the neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Atoms = NDArray[np.int64]


class AtomTable:
    """Union-find over atoms, with a reason for each class that must stay."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}
        self._parts: dict[int, tuple[int, ...]] = {}
        self._settled: Atoms | None = None

    def new(self, count: int) -> Atoms:
        """(count,) fresh atoms, each a class of its own."""
        self._settled = None
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
        if self._settled is not None:
            found: Atoms = self._settled[atoms]
            return found
        return np.fromiter((self.find(int(a)) for a in atoms), dtype=np.int64, count=len(atoms))

    def unite(self, left: Atoms, right: Atoms) -> None:
        """Unite two equally long arrays index by index; a frozen class freezes what joins it."""
        if len(left) != len(right):
            raise ValueError(f"cannot unite axes of {len(left)} and {len(right)} atoms")
        self._settled = None
        for a, b in zip(left, right, strict=True):
            root, child = sorted((self.find(int(a)), self.find(int(b))))
            if root != child:
                self._parent[child] = root
                if child in self._frozen:
                    self._frozen.setdefault(root, self._frozen.pop(child))
                if child in self._parts:
                    self._join(root, self._parts.pop(child))

    def join(self, whole: Atoms, parts: Sequence[Atoms]) -> None:
        """Say that index i of an axis is there while index i of each of ``parts`` is; all are equally long."""
        for atom, own in zip(whole, zip(*parts, strict=True), strict=True):
            self._join(self.find(int(atom)), tuple(int(part) for part in own))

    def bases(self, atom: int) -> tuple[int, ...]:
        """The classes that an atom's class depends on: itself, or the parts of a joint one, frozen ones left out."""
        found: dict[int, None] = {}
        self._collect(self.find(atom), found, set())
        return tuple(root for root in found if root not in self._frozen)

    def settle(self) -> None:
        """Freeze the parts of joint classes that are frozen."""
        depends: dict[int, dict[int, None]] = {root: {} for root in self._parts}
        for root, found in depends.items():
            self._collect(root, found, set())
        for root, found in depends.items():
            for part in found if root in self._frozen else ():
                self._frozen.setdefault(part, self._frozen[root])

    def _join(self, root: int, parts: tuple[int, ...]) -> None:
        """Give a class parts; where it has others, these are the same one by one, or all must stay."""
        before = self._parts.setdefault(root, parts)
        if len(before) == len(parts):
            self.unite(np.array(before), np.array(parts))
        else:
            self.freeze(np.array([root, *before, *parts]), "its channels are laid out in two ways")

    def _collect(self, root: int, found: dict[int, None], on_the_way: set[int]) -> None:
        if root in on_the_way:  # a part of itself
            self._frozen.setdefault(root, "its channels are laid out in two ways")
        elif root in self._parts:
            for part in self._parts[root]:
                self._collect(self.find(part), found, on_the_way | {root})
        else:
            found.setdefault(root)

    def freeze(self, atoms: Atoms, reason: str) -> None:
        """Mark the classes of these atoms as never to be removed; the first reason stays."""
        for atom in atoms:
            self._frozen.setdefault(self.find(int(atom)), reason)

    def frozen(self, atom: int) -> str | None:
        """Why an atom's class must stay, or ``None`` when it may go; a joint one stays where all of its parts do."""
        root = self.find(atom)
        if root in self._frozen or root not in self._parts:
            return self._frozen.get(root)
        found: dict[int, None] = {}
        self._collect(root, found, set())
        reasons = [self._frozen.get(part) for part in found]
        return reasons[0] if reasons and None not in reasons else None
