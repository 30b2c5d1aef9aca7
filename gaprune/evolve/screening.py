"""Screening: children are bred on guesses for some rounds, and only the most promising are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaprune.evolve.breeder import Breeder
from gaprune.evolve.profile import Profiler
from gaprune.evolve.surrogate import Surrogate
from gaprune.evolve.volume import most_volume
from gaprune.prune.genome import Bits, Floats, Genome

FEWEST = 12
"""Evaluations before anything is guessed."""

MOST = 400
"""Evaluations that are learnt from, the latest: the fit takes O(n^3)."""

LEAST_EXPLAINED = 0.5
"""Share of each objective's variance that leaving one out must explain, or nothing is guessed."""

ROUNDS = 6
"""Rounds of breeding on guesses for one generation."""

CHILDREN = 4
"""Children of a round for each one that will be evaluated."""

MANY_GENES = 100_000
"""Genes from which on making a child takes so long that one round must do."""

LITTLE = 0.01
"""Violation that a guess may have and still count as none."""


class Screen:
    """What was told, by profile, and the children that it suggests.

    Surrogate-assisted evolution: a child costs a profile, only a promising one an evaluation (Jin, "Surrogate-assisted
    evolutionary computation", Swarm and Evolutionary Computation 1(2), 2011). Promising is what adds most hypervolume
    to what is guessed of the living.

    Args:
        breeder: makes children, and knows what was asked for before.
        objectives: number of objectives.
    """

    def __init__(self, breeder: Breeder, objectives: int) -> None:
        self._breeder = breeder
        self._profile = Profiler(breeder.space)
        self._profiles: Floats = np.empty((0, 1 + 2 * len(breeder.space.sections)))
        self._told: Floats = np.empty((0, objectives + 1))

    def learn(self, genomes: Sequence[Genome], Y: Floats, violation: Floats) -> None:
        """Take in (n, m) objectives and (n,) violations of n genomes; failures are passed over."""
        told = np.column_stack([Y, violation])
        sound = np.flatnonzero(np.isfinite(told).all(axis=1))
        if len(sound):
            unpack = self._breeder.space.layout.unpack
            profiles = np.stack([self._profile(unpack(genomes[int(index)])) for index in sound])
            self._profiles = np.concatenate([self._profiles, profiles])[-MOST:]
            self._told = np.concatenate([self._told, told[sound]])[-MOST:]

    def children(self, parents: Sequence[Genome], count: int) -> list[Bits]:
        """At most ``count`` children, repaired and unseen; none where too little is known or guessing does not work."""
        models = self._models()
        if not models:
            return []
        layout, rng = self._breeder.space.layout, self._breeder.ledger.rng
        living = [layout.unpack(genome) for genome in parents]
        hopes = self._guess(living, models)
        known, made, made_hopes = hopes, list[Bits](), [hopes[:0]]
        for _ in range(ROUNDS if layout.size <= MANY_GENES else 1):
            pairs = rng.integers(len(living), size=(CHILDREN * count, 2))
            pool = self._breeder.pool([(living[a], living[b]) for a, b in pairs], made)
            guesses = self._guess(pool, models)
            made, made_hopes = made + pool, [*made_hopes, guesses]
            living, hopes = living + pool, np.concatenate([hopes, guesses])
            kept = self._best(hopes, 2 * count, known[:0])
            living, hopes = [living[index] for index in kept], hopes[kept]
        chosen = self._best(np.concatenate(made_hopes), min(count, len(made)), known)
        return [made[index] for index in chosen]

    def _models(self) -> list[Surrogate]:
        """One model for each objective, one more for the violation where there is any."""
        if len(self._told) < FEWEST:
            return []
        models = []
        for values in self._told.T if self._told[:, -1].any() else self._told.T[:-1]:
            models.append(Surrogate(self._profiles, values))
            if models[-1].explained < LEAST_EXPLAINED:
                return []
        return models

    def _guess(self, pool: Sequence[Bits], models: list[Surrogate]) -> Floats:
        """(n, m) objectives expected of n repaired bit vectors; those that would break a constraint are at infinity."""
        profiles = np.stack([self._profile(bits) for bits in pool])
        guesses = np.stack([model.predict(profiles) for model in models], axis=1)
        objectives = self._told.shape[1] - 1
        guesses[(guesses[:, objectives:] > LITTLE).any(axis=1)] = np.inf
        found: Floats = guesses[:, :objectives]
        return found

    def _best(self, hopes: Floats, count: int, beside: Floats) -> list[int]:
        reference = self._told[:, :-1].max(axis=0)
        chosen = most_volume(hopes, min(count, len(hopes)), beside=beside, reference=reference)
        return [int(index) for index in chosen]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learnt, to be saved."""
        return {"told_profiles": self._profiles.copy(), "told": self._told.copy()}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take over saved arrays."""
        self._profiles = np.array(arrays["told_profiles"], dtype=np.float64)
        self._told = np.array(arrays["told"], dtype=np.float64)
