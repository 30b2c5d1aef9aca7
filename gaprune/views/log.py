"""The log of a run as far as it can be read, whoever is writing it meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaprune.errors import RunError
from gaprune.runs import LOG_NAME, NO_LINE, PARTS, as_number, fact, json_object, line_sum, numbers, read_seal, unsigned


@dataclass(frozen=True)
class Evaluated:
    """A candidate that a search has evaluated.

    Attributes:
        key: of its genome.
        part: the part of the run, such as ``round-2``; empty in a single search.
        generation: that asked for it.
        values: plain values by name: costs, and what was measured.
        minimised: by objective, what the search minimises.
        seconds: that the evaluation took.
        failure: why it failed; ``None`` when it did not.
        bound: whether measuring was stopped early, so that its accuracy is no more than a bound.
        violation: of the constraints, 0 where it keeps to them.
    """

    key: str
    part: str
    generation: int
    values: dict[str, float]
    minimised: dict[str, float]
    seconds: float
    failure: str | None
    bound: bool
    violation: float

    @property
    def counts(self) -> bool:
        """Whether it was measured to the end and keeps to the constraints."""
        return self.failure is None and not self.bound and self.violation == 0


def part_folders(path: Path) -> list[Path]:
    """The directories of a run's rounds or iterations, in their order; none of a single search."""
    found = [folder for part in PARTS for folder in path.glob(f"{part}-*") if _number(folder) is not None]
    return sorted(found, key=lambda folder: (_number(folder) or 0, folder.name))


def _number(folder: Path) -> int | None:
    text = folder.name.rpartition("-")[2]
    return int(text) if text.isdecimal() and folder.is_dir() else None


def read_log(path: Path) -> tuple[list[Evaluated], list[str]]:
    """Every candidate of a run and its parts, oldest first, and one line for each log that is not whole.

    A last line without an end is being written, or was when its process was killed: it is passed over.
    """
    found: list[Evaluated] = []
    notes: list[str] = []
    for folder in (path, *part_folders(path)):
        part = "" if folder == path else folder.name
        file = folder / LOG_NAME
        try:
            seal = read_seal(folder)
            content = file.read_bytes() if file.exists() else b""
        except RunError as error:
            notes.append(f"{file.relative_to(path)} is left out: {error}")
            continue
        except OSError as error:
            notes.append(f"{file.name} cannot be read: {error.strerror or error}")
            continue
        known: float
        known, wanted = (0, "") if seal is None or seal.log is None else seal.log
        known = math.inf if seal is None else known
        damaged, number = [], 0
        for number, one in enumerate(_parsed(content, part, known, wanted), start=1):
            if one is None:
                damaged.append(number)
            else:
                found.append(one)
        if damaged:
            lines = "1 line is" if len(damaged) == 1 else f"{len(damaged)} lines are"
            where = f"{file.relative_to(path)}, the first is line {damaged[0]}"
            notes.append(f"{lines} not as written and left out: {where}")
        if number < known < math.inf:
            notes.append(
                f"{file.relative_to(path)} ends after line {number}, and {known} were written: some are left out"
            )
    return found, notes


def _parsed(content: bytes, part: str, known: float, wanted: str) -> Iterator[Evaluated | None]:
    """What each whole line says; ``None`` where it is not as it was written.

    So many lines as are ``known`` may lack a checksum of their own; ``wanted`` is that of them all.
    """
    last, signed = NO_LINE, False
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        body, found = unsigned(line)
        try:
            record = json_object(body)
        except ValueError:
            record = {}
        whole = found == line_sum(last, body) if found is not None else not signed and number <= known
        last = found or line_sum(last, body)
        signed = signed or found is not None
        whole = whole and (number != known or last == wanted)
        yield _evaluated(record, part) if whole else None


def _evaluated(record: Any, part: str) -> Evaluated | None:
    key, generation = fact(record, "key", kind=str), fact(record, "generation", kind=int)
    if key is None or generation is None:
        return None
    failure = fact(record, "failure", kind=str)
    values = numbers(record.get("values"))
    if failure is None and not values:
        return None
    return Evaluated(
        key=key,
        part=part,
        generation=generation,
        values=values,
        minimised=numbers(record.get("minimised")),
        seconds=as_number(record.get("seconds")) or 0.0,
        failure=failure,
        bound=record.get("bound") is True,
        violation=as_number(record.get("violation")) or 0.0,
    )
