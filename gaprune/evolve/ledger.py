"""The ledger: what every algorithm must keep between ``ask`` and ``tell``, and save for a resume."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaprune.errors import OptionError
from gaprune.evolve.algorithm import AlgorithmState
from gaprune.evolve.archive import Archive
from gaprune.genome import Bits, Floats, Genome, Layout

SMALLEST_POPULATION = 4
KEY_BYTES = 16

TRIES = 20
"""Changes of a genome that was asked for before, at most."""


class Ledger:
    """The generator, the pending generation, the archive, and the keys of all genomes ever asked for.

    Attributes:
        rng: source of all randomness of the search.
        generation: number of generations told.
        archive: all non-dominated genomes told.
        start: the first generation.
        population: genomes a generation.
        objectives: number of objectives.
    """

    def __init__(self, name: str, layout: Layout, *, objectives: int, population: int, seed: int) -> None:
        if population < SMALLEST_POPULATION:
            raise OptionError(f"population must be at least {SMALLEST_POPULATION}, got {population}")
        if objectives < 1:
            raise OptionError(f"objectives must be at least 1, got {objectives}")
        if seed < 0:
            raise OptionError(f"seed must be at least 0, got {seed}")
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.generation = 0
        self.archive = Archive(objectives)
        self.start: list[Genome] = []
        self.population = population
        self.objectives = objectives
        self._name = name
        self._layout = layout
        self._pending: list[Genome] | None = None
        self._seen: dict[str, None] = {}

    def ask(self, breed: Callable[[], Sequence[Genome]]) -> list[Genome]:
        """The pending genomes; ``breed`` makes them when there are none."""
        if self._pending is None:
            self._pending = list(breed())
        return list(self._pending)

    def is_seen(self, genome: Genome) -> bool:
        """Whether the genome was noted before."""
        return genome.key in self._seen

    def unseen(
        self, bits: Bits, change: Callable[[Bits], Bits], others: Collection[Genome] = ()
    ) -> tuple[Bits, Genome]:
        """``bits``, changed on while they were asked for before or are among the ``others``, and packed; not noted.

        After a bounded number of changes a known genome is let through: small spaces run out of new ones.

        Args:
            bits: repaired.
            change: makes other repaired bits of some.
            others: genomes that will not do either.
        """
        genome = self._layout.pack(bits)
        for _ in range(TRIES):
            if not self.is_seen(genome) and genome not in others:
                break
            bits = change(bits)
            genome = self._layout.pack(bits)
        return bits, genome

    def note(self, genome: Genome) -> None:
        """Remember a genome as asked for."""
        self._seen[genome.key] = None

    def front(self) -> tuple[list[Genome], Floats]:
        """Copies of the archive's genomes and objectives."""
        return list(self.archive.genomes), self.archive.Y.copy()

    def tell(self, genomes: Sequence[Genome], Y: Floats, violation: Floats | None = None) -> tuple[Floats, Floats]:
        """Check the objectives, archive them and close the generation.

        Returns:
            (n, m) and (n,) float64 copies, in which a row with any ``inf`` is ``inf`` throughout.

        Raises:
            ValueError: see ``Algorithm.tell``.
        """
        self._check_genomes(genomes)
        told = self.archived(genomes, Y, violation)
        if self.generation == 0:
            self.start = list(genomes)
        self.generation += 1
        self._pending = None
        return told

    def archived(self, genomes: Sequence[Genome], Y: Floats, violation: Floats | None) -> tuple[Floats, Floats]:
        """Check the objectives of any genomes and archive them: as ``tell`` does, whoever asked for them."""
        values = _checked(Y, "objectives", (len(genomes), self.objectives))
        violations = _checked(np.zeros(len(genomes)) if violation is None else violation, "violations", (len(genomes),))
        if (violations < 0).any():
            raise ValueError("violations must be at least 0")
        failed = np.isinf(values).any(axis=1) | np.isinf(violations)
        values[failed], violations[failed] = np.inf, np.inf
        self.archive.add(genomes, values, violations)
        return values, violations

    def _check_genomes(self, genomes: Sequence[Genome]) -> None:
        if self._pending is None:
            raise ValueError("tell before ask: no genomes are pending")
        if list(genomes) != self._pending:
            raise ValueError("tell must be given the genomes that ask gave, in that order")

    def state(self) -> AlgorithmState:
        """The ledger as arrays and JSON values."""
        arrays: dict[str, NDArray[Any]] = {
            "archive": pack_genomes(self.archive.genomes, self._layout),
            "archive_Y": self.archive.Y.copy(),
            "archive_violation": self.archive.violation.copy(),
            "start": pack_genomes(self.start, self._layout),
            "pending": pack_genomes(self._pending or [], self._layout),
            "seen": np.frombuffer(bytes.fromhex("".join(self._seen)), np.uint8).reshape(-1, KEY_BYTES).copy(),
        }
        return AlgorithmState(
            arrays,
            self._identity()
            | {
                "generation": self.generation,
                "asked": self._pending is not None,
                "rng": self.rng.bit_generator.state,
            },
        )

    def restore(self, state: AlgorithmState) -> None:
        """Take over a state, checked first against the algorithm, the space and the options."""
        for name, value in self._identity().items():
            if state.meta.get(name) != value:
                raise ValueError(f"the state is of another search: its {name} differ")
        arrays, meta = state.arrays, state.meta
        self.archive.genomes = unpack_genomes(arrays["archive"], self._layout)
        self.archive.Y = np.array(arrays["archive_Y"], dtype=np.float64)
        self.archive.violation = np.array(arrays["archive_violation"], dtype=np.float64)
        pending = unpack_genomes(arrays["pending"], self._layout)
        self._pending = pending if meta["asked"] else None
        self.start = unpack_genomes(arrays["start"], self._layout) if "start" in arrays else []  # older runs have none
        self._seen = {row.tobytes().hex(): None for row in np.asarray(arrays["seen"])}
        self.generation = int(meta["generation"])
        self.rng.bit_generator.state = meta["rng"]

    def _identity(self) -> dict[str, Any]:
        sections = [[section.name, section.kind, section.size] for section in self._layout.sections]
        return {
            "algorithm": self._name,
            "objectives": self.objectives,
            "population": self.population,
            "sections": sections,
        }


def _checked(given: Floats, what: str, shape: tuple[int, ...]) -> Floats:
    """A float64 copy of numbers that a search was told."""
    values = np.array(given, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(f"expected {what} of shape {shape}, got {values.shape}")
    if np.isnan(values).any() or np.isneginf(values).any():
        raise ValueError(f"{what} must not be NaN or -inf; a failed candidate is a row of inf")
    return values


def pack_genomes(genomes: Sequence[Genome], layout: Layout) -> NDArray[np.uint8]:
    """(n, ceil(size / 8)) uint8, one genome a row."""
    packed = np.frombuffer(b"".join(genome.packed for genome in genomes), dtype=np.uint8)
    return packed.reshape(len(genomes), (layout.size + 7) // 8).copy()


def unpack_genomes(rows: NDArray[Any], layout: Layout) -> list[Genome]:
    """The genomes of ``pack_genomes``. Raises ``ValueError`` where the rows do not fit the layout."""
    width = (layout.size + 7) // 8
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.uint8:
        raise ValueError(f"expected (n, {width}) uint8 genomes, got {rows.shape} {rows.dtype}")
    return [Genome(row.tobytes()) for row in rows]
