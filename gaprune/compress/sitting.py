"""Times of all rows, taken in turn in one sitting: what slows the machine down meanwhile slows no row alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gaprune.compress.method import Work
from gaprune.compress.timing import seconds_of, timed_devices
from gaprune.errors import CheckpointError, MethodError, TrainingError, first_line
from gaprune.progress import Reporter
from gaprune.runs import json_bytes, read_json_object, write_file

OF_A_ROW = (MethodError, TrainingError, CheckpointError, RuntimeError, MemoryError)
"""What costs one row only; torch tells of memory that is used up, and of what kernels refuse, by ``RuntimeError``."""

TURNS = 3
TIMES = "times.json"


@dataclass(frozen=True)
class Sitting:
    """What every chain took in every round.

    Attributes:
        rounds: seconds a batch by chain and ``device batch``, one a round; None where it cannot run.
    """

    rounds: Mapping[str, Mapping[str, Sequence[float] | None]]

    def seconds(self, chain: str) -> dict[str, float | None]:
        """The median of the rounds, by ``device batch``."""
        return {name: statistics.median(taken) if taken else None for name, taken in self.rounds[chain].items()}

    def spread(self, chain: str) -> float:
        """How many times as long as its fastest round the slowest took, where that is most."""
        return max((max(taken) / min(taken) for taken in self.rounds[chain].values() if taken), default=1.0)

    def covers(self, chains: Sequence[str], batches: Sequence[int]) -> bool:
        """Whether these chains were timed with these batches on every device that is here."""
        names = set(_names(batches))
        return all(self.rounds.get(chain, {}).keys() >= names for chain in chains)

    def save(self, folder: Path) -> None:
        """Write it, in place of an earlier one.

        Raises:
            OSError: it cannot be written.
        """
        write_file(folder, TIMES, json_bytes({"rounds": self.rounds}))

    @classmethod
    def load(cls, folder: Path) -> Sitting:
        """The last that was saved there, empty if none was."""
        with suppress(OSError, ValueError, KeyError):
            return cls(read_json_object(folder / TIMES)["rounds"])
        return cls({})


def time_in_turn(
    works: Mapping[str, Callable[[], Work]], batches: Sequence[int], threads: int, reporter: Reporter
) -> tuple[Sitting, dict[str, str]]:
    """Time all works ``TURNS`` times in turn; and why some cannot be.

    Args:
        works: what loads the work of each chain; one is in memory at a time.
        batches: sizes of the batches.
        threads: on the CPU.
        reporter: told how it goes.
    """
    rounds: dict[str, dict[str, list[float] | None]] = {chain: {} for chain in works}
    failures: dict[str, str] = {}
    with reporter.task("times", TURNS * len(works)) as task:
        for _ in range(TURNS):
            for chain, load in works.items():
                try:
                    if chain not in failures:
                        _time(load(), batches, threads, rounds[chain])
                except OF_A_ROW as error:
                    failures[chain] = first_line(error)
                    reporter.say(f"{chain}: {failures[chain]}")
                task.advance()
    return Sitting({chain: taken for chain, taken in rounds.items() if chain not in failures}), failures


def _time(work: Work, batches: Sequence[int], threads: int, taken: dict[str, list[float] | None]) -> None:
    """Add a round."""
    for name in _names(batches):
        device, batch = name.split()
        if device not in work.runner.devices:
            taken[name] = None
            continue
        seconds = seconds_of(work, device, int(batch), threads)
        taken[name] = [*(taken.get(name) or ()), seconds]


def _names(batches: Sequence[int]) -> list[str]:
    return [f"{device} {batch}" for device in timed_devices() for batch in batches]
