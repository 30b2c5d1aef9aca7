"""Screening: children are bred on guesses for some rounds, and only the most promising are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gaprune.evolve.breeder import Breeder, Child
from gaprune.evolve.profile import Profiler
from gaprune.evolve.surrogate import START, Surrogate
from gaprune.evolve.volume import most_volume
from gaprune.genome import Floats, Genome

FEWEST = 12
"""Evaluations before anything is guessed."""

MOST = 400
"""Evaluations that are learnt from, the latest: the fit takes O(n^3)."""

REFIT = 1.2
"""Growth of what was told after which the models' settings are fitted anew; until then they only learn what is new."""

LEAST_EXPLAINED = 0.5
"""Share of each objective's variance that leaving one out must explain, or nothing is guessed."""

ROUNDS = 6
"""Rounds of breeding on guesses for one generation."""

CHILDREN = 4
"""Children of a round for each one that will be evaluated."""

MANY_GENES = 100_000
"""Genes from which on making a child takes so long that one round must do."""

MARGIN = 0.1
"""How far beyond the worst told the hypervolume's reference lies, as a share of the range: extremes count too."""

LITTLE = 0.01
"""Violation that a guess may have and still count as none."""


class Screen:
    """What was told, by profile, and the children that it suggests.

    Surrogate-assisted evolution: a child costs a profile, only a promising one an evaluation (Jin, "Surrogate-assisted
    evolutionary computation", Swarm and Evolutionary Computation 1(2), 2011). Promising is what adds most hypervolume
    to what is guessed of the living; with more than two objectives, what has the best rank beside them.

    Args:
        breeder: makes children, and knows what was asked for before.
        objectives: number of objectives.
    """

    def __init__(self, breeder: Breeder, objectives: int) -> None:
        self._breeder = breeder
        self._profile = Profiler(breeder.space)
        self._profiles: Floats = np.empty((0, 1 + 2 * len(breeder.space.sections)))
        self._told: Floats = np.empty((0, objectives + 1))
        self._settings: Floats = np.empty((0, len(START)))
        self._count = 0
        self._fitted_at = 0
        self._remembered: dict[Genome, Floats] = {}

    def learn(self, genomes: Sequence[Genome], Y: Floats, violation: Floats, expected: Floats) -> None:
        """Take in n genomes; failures are passed over.

        Args:
            genomes: n genomes.
            Y: (n, m) objectives; a failure is infinite.
            violation: (n,) of constraints.
            expected: (n, m) objectives that are probable; NaN where nobody knows, which teaches nothing of that one.
        """
        sound = np.flatnonzero(np.isfinite(Y).all(axis=1))
        if len(sound):
            profiles = self._profiles_of([genomes[int(index)] for index in sound])
            told = np.column_stack([expected, violation])[sound]
            self._profiles = np.concatenate([self._profiles, profiles])[-MOST:]
            self._told = np.concatenate([self._told, told])[-MOST:]
            self._count += len(sound)

    def children(self, parents: Sequence[Genome], count: int) -> list[Child]:
        """At most ``count`` unseen children; none where too little is known or guessing does not work.

        The fit's last digits, and so the children, depend on the number of BLAS threads: there is one.
        """
        with threadpool_limits(limits=1, user_api="blas"):
            models = self._models()
            return self._bred(parents, count, models) if models else []

    def _bred(self, parents: Sequence[Genome], count: int, models: list[Surrogate]) -> list[Child]:
        layout, rng = self._breeder.space.layout, self._breeder.ledger.rng
        living = [layout.unpack(genome) for genome in parents]
        known = hopes = self._guess(self._profiles_of(parents), models)
        made, profiles, guesses = list[Child](), list[Floats](), [hopes[:0]]
        for _ in range(ROUNDS if layout.size <= MANY_GENES else 1):
            pairs = rng.integers(len(living), size=(CHILDREN * count, 2))
            pool = self._breeder.pool([(living[a], living[b]) for a, b in pairs], made)
            if not pool:  # the space has no new ones
                break
            bred = [child.bits for child in pool]
            profiles += [self._profile(bits) for bits in bred]
            guesses.append(self._guess(np.stack(profiles[len(made) :]), models))
            made, living = made + pool, living + bred
            hopes = np.concatenate([hopes, guesses[-1]])
            kept = self._best(hopes, 2 * count, hopes[:0])
            living, hopes = [living[index] for index in kept], hopes[kept]
        chosen = self._best(np.concatenate(guesses), count, known)
        self._remember({made[index].genome: profiles[index] for index in chosen})
        return [made[index] for index in chosen]

    def _profiles_of(self, genomes: Sequence[Genome]) -> Floats:
        """(n, d) profiles, those of genomes of late from memory."""
        unpack = self._breeder.space.layout.unpack
        new = [genome for genome in dict.fromkeys(genomes) if genome not in self._remembered]
        found = self._remembered | {genome: self._profile(unpack(genome)) for genome in new}
        self._remember(found)
        return np.stack([found[genome] for genome in genomes])

    def _remember(self, profiles: dict[Genome, Floats]) -> None:
        latest = list((self._remembered | profiles).items())[-MOST:]
        self._remembered = dict(latest)

    def _models(self) -> list[Surrogate]:
        """One model for each objective, one more for the violation where there is any."""
        columns = self._told.T if self._told[:, -1].any() else self._told.T[:-1]
        known = [~np.isnan(column) for column in columns]
        if min(int(np.count_nonzero(rows)) for rows in known) < FEWEST:
            return []
        settings: list[Floats | None] = [*self._settings]
        if self._count >= REFIT * self._fitted_at or len(settings) != len(columns):
            settings, self._fitted_at = [None] * len(columns), self._count
        models = [
            Surrogate(self._profiles[rows], column[rows], given)
            for column, rows, given in zip(columns, known, settings, strict=True)
        ]
        self._settings = np.stack([model.settings for model in models])
        return models if all(model.explained >= LEAST_EXPLAINED for model in models) else []

    def _guess(self, profiles: Floats, models: list[Surrogate]) -> Floats:
        """(n, m + 1) objectives and violation expected at (n, d) profiles; a little violation counts as none."""
        guesses = np.zeros((len(profiles), self._told.shape[1]))
        for column, model in enumerate(models):
            guesses[:, column] = model.predict(profiles)
        guesses[:, -1] = np.where(guesses[:, -1] > LITTLE, guesses[:, -1], 0.0)
        return guesses

    def _best(self, hopes: Floats, count: int, beside: Floats) -> list[int]:
        told = self._told[:, :-1]
        worst = np.nanmax(told, axis=0)
        reference = worst + MARGIN * (worst - np.nanmin(told, axis=0))
        chosen = most_volume(
            hopes[:, :-1],
            min(count, len(hopes)),
            beside=beside[beside[:, -1] == 0, :-1],
            reference=reference,
            violation=hopes[:, -1],
        )
        return [int(index) for index in chosen]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learnt, to be saved."""
        return {
            "told_profiles": self._profiles.copy(),
            "told": self._told.copy(),
            "settings": self._settings.copy(),
            "fits": np.array([self._count, self._fitted_at]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take over saved arrays."""
        self._profiles = np.array(arrays["told_profiles"], dtype=np.float64)
        self._told = np.array(arrays["told"], dtype=np.float64)
        self._settings = np.array(arrays["settings"], dtype=np.float64)
        self._count, self._fitted_at = (int(number) for number in arrays["fits"])
