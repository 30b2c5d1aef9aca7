"""A run as far as it can be read: finished, at work, damaged or of another version. Nothing here writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gaprune.errors import GapruneError, RunError
from gaprune.options import SCORE, TASK
from gaprune.runs import (
    LADDER_NAME,
    LOG_NAME,
    MANIFEST_NAME,
    STATE_NAME,
    WEIGHTS_NAME,
    Baseline,
    FrontRow,
    LadderTable,
    fact,
    read_front,
    read_json_object,
    read_ladder,
    read_manifest,
    read_seal,
)
from gaprune.views.log import Evaluated, part_folders, read_log

ACCURACY = "accuracy"
TABLE = "front.csv"
GENOME = "genome.json"
NAMED = 3
"""Members that a note names."""

T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """A channel group of the original network: the convolution that it is named after, and its neurons."""

    name: str
    size: int


@dataclass(frozen=True)
class RunRecord:
    """What a run directory holds.

    Attributes:
        path: the directory.
        manifest: empty where it cannot be read.
        rows: the front that is saved, fewest FLOPs first; empty as long as there is none.
        evaluated: every candidate of the log, oldest first.
        layers: of the original, in the order of the rows' widths; empty where nothing says them.
        ladder: that the search began with, where it is kept.
        notes: what cannot be shown and why, a line each.
        damage: those of the notes that tell of files which are not as they were written.
        weightless: names of members whose weights do not lie here, as in a copy made for reports alone.
    """

    path: Path
    manifest: dict[str, Any]
    rows: tuple[FrontRow, ...]
    evaluated: tuple[Evaluated, ...]
    layers: tuple[Layer, ...]
    ladder: LadderTable | None
    notes: tuple[str, ...]
    damage: tuple[str, ...] = ()
    weightless: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def title(self) -> str:
        """Network and data in words."""
        model = fact(self.manifest, "model", "name", kind=str) or "network"
        data = fact(self.manifest, "data", "name", kind=str)
        return f"{model} on {data}" if data else model

    @property
    def options(self) -> dict[str, Any]:
        """What the search was told."""
        return fact(self.manifest, "options", kind=dict) or {}

    @property
    def objectives(self) -> tuple[str, ...]:
        """What it minimises, by name."""
        found = fact(self.manifest, "objectives", kind=list) or []
        return tuple(name for name in found if isinstance(name, str))

    @property
    def score(self) -> str | None:
        """What a task of one's own calls its score; ``None`` where networks are judged by accuracy."""
        return fact(self.manifest, TASK, SCORE, kind=str)

    @property
    def judged_by(self) -> str:
        """The quantity that networks are told apart by, as axes are called."""
        return ACCURACY if self.score is None else SCORE

    @property
    def quality(self) -> str:
        """The same in words."""
        return self.score or ACCURACY

    @property
    def shown_on(self) -> str:
        """What it is measured on, in words."""
        return "images" if self.score is None else "data"

    def in_words(self, value: float, places: int = 2) -> str:
        """A value of it, with its unit."""
        return f"{100 * value:.{places}f}%" if self.score is None else f"{value:.4g}"

    def drawn(self, value: float) -> float:
        """A value of it as figures show it: accuracies in percent."""
        return round(100 * value, 3) if self.score is None else value

    @cached_property
    def original(self) -> Baseline | None:
        """What the whole network reaches and costs."""
        accuracy, flops, params, size = (
            fact(self.manifest, "original", name, kind=float)
            for name in ("search_accuracy", "flops", "params", "size_mb")
        )
        if accuracy is None or not flops or not params or not size:
            return None
        tested = fact(self.manifest, "original", "test_accuracy", kind=float)
        return Baseline(accuracy, tested, int(flops), int(params), size)

    @cached_property
    def picked(self) -> FrontRow | None:
        """The member that the search has marked."""
        index = fact(self.manifest, "picked", kind=int)
        return next((row for row in self.rows if row.index == index), None)

    @property
    def finished(self) -> bool:
        """Whether the search came to its end."""
        return bool(self.rows) and fact(self.manifest, "evaluations", kind=int) is not None

    @property
    def wanted(self) -> int | None:
        """How many generations were asked for, of the search or of each of its parts."""
        name = "round_generations" if self.options.get("algorithm") == "rounds" else "generations"
        return fact(self.options, name, kind=int)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of its rounds or iterations."""
        return tuple(folder.name for folder in part_folders(self.path))


def read_record(path: Path) -> RunRecord:
    """Read a run.

    Raises:
        RunError: there is nothing of a run in the directory.
    """
    if not path.is_dir():
        reason = "it is a file" if path.exists() else "there is no such directory"
        raise RunError(f"{path} is not a run directory: {reason}")
    notes: list[str] = []
    nothing: dict[str, Any] = {}
    none: list[FrontRow] = []
    damage: list[str] = []
    manifest = _kept(notes, damage, path / MANIFEST_NAME, _manifest, nothing, "settings, original and identity")
    rows = _kept(notes, damage, path / TABLE, _front, none, "members with test accuracy and widths")
    ladder = _kept(notes, damage, path / LADDER_NAME, read_ladder, None, "")
    evaluated, damaged = read_log(path)
    if not manifest and not rows and not evaluated:
        if damage or damaged:
            raise RunError(f"nothing of {path} is whole: {(*damage, *damaged)[0]}")
        raise RunError(f"{path} is not a run directory: it has no {MANIFEST_NAME}, {TABLE} or {LOG_NAME} to read")
    if not evaluated:
        notes.append(f"there is no evaluation in {LOG_NAME}: no candidates, progress or failures")
    weightless = frozenset(row.name for row in rows if row.path and not os.path.exists(path / row.path / WEIGHTS_NAME))
    if weightless:
        notes.append(_without_weights(weightless, len(rows)))
    return RunRecord(
        path=path,
        manifest=manifest,
        rows=tuple(sorted(rows, key=lambda row: (row.flops, row.index))),
        evaluated=tuple(evaluated),
        layers=_layers(path, rows, ladder),
        ladder=ladder,
        notes=(*notes, *damaged),
        damage=(*damage, *damaged),
        weightless=weightless,
    )


def _without_weights(names: frozenset[str], members: int) -> str:
    """A note on members that cannot be loaded from here; their numbers are shown all the same."""
    if len(names) == members:
        which = "the weights of the members are not here"
    else:
        which = f"the weights of {len(names)} of {members} members are not here ({', '.join(sorted(names)[:NAMED])})"
    return f"{which}: how to load and export them and to go on with the search is not shown"


def newest_state(path: Path) -> int | None:
    """Generations that the newest state in a directory stands for; ``None`` without one."""
    numbers = [int(file.stem) for file in (path / STATE_NAME).glob("*.json") if file.stem.isdecimal()]
    return max(numbers, default=None)


def _manifest(file: Path) -> dict[str, Any]:
    return read_manifest(file.parent, shaped=False)


def _front(file: Path) -> list[FrontRow]:
    return read_front(file.parent)


def _kept(notes: list[str], damage: list[str], file: Path, read: Callable[[Path], T], instead: T, what: str) -> T:
    """What a file holds; a note where it is missing or damaged, and what is not shown for it."""
    lost = f": {what} are not shown" if what else ""
    if not file.exists() and not _is_missed(file):
        if what:
            notes.append(f"there is no {file.name}{lost}")
        return instead
    try:
        return read(file)
    except (GapruneError, OSError, ValueError) as error:
        damage.append(f"{file.name} is not whole ({error}){lost}")
        notes.append(damage[-1])
        return instead


def _is_missed(file: Path) -> bool:
    """Whether a file that is not there should be."""
    try:
        seal = read_seal(file.parent)
    except RunError:
        return True
    return seal is not None and None not in seal.files.get(file.name, [None])


def _layers(path: Path, rows: list[FrontRow], ladder: LadderTable | None) -> tuple[Layer, ...]:
    """The channel groups that widths are of: from the ladder, or from what a member keeps of its genome."""
    if ladder is not None:
        return tuple(Layer(*pair) for pair in zip(ladder.groups, ladder.sizes, strict=True))
    for row in rows:
        try:
            sections = read_json_object(path / row.home / GENOME)["sections"]
            found = tuple(Layer(str(one["name"]), int(one["genes"])) for one in sections if one["kind"] == "neurons")
        except (GapruneError, OSError, ValueError, LookupError, TypeError):
            continue
        if len(found) == len(row.widths):
            return found
    return ()
