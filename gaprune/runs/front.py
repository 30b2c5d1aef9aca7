"""The front as plain rows, in memory and as CSV."""

from __future__ import annotations

import csv
import io
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from gaprune.errors import RunError, first_line
from gaprune.runs.files import atomic_write
from gaprune.runs.inside import NAME, inside
from gaprune.runs.sealing import (
    ATTEMPTS,
    CHECKSUMS,
    PAUSE,
    altered,
    check_file,
    check_folder,
    read_file,
    read_seal,
    write_file,
)

_log = logging.getLogger(__name__)

FLOPS_NOTE = "FLOPs as fvcore counts them: a multiply-accumulate is one; masked kernels are left out."

CSV, FRONT = "front.csv", "front"
"""The table of a front, and the folder of its members."""

FINETUNED = "finetuned"
"""Folder in a member's own folder: the same network after fine-tuning."""

SHORT = 8
"""Digits of a genome's key that name a member."""

_COLUMNS = (
    "index",
    "key",
    "search_accuracy",
    "test_accuracy",
    "flops",
    "flops_share",
    "params",
    "params_share",
    "size_mb",
    "path",
    "widths",
)
_OBJECTIVE = "objective_"
_TRAINED = ("trained_epochs", "search_accuracy_before", "test_accuracy_before", "fitness_before")
"""Further columns, of a front with a member that was fine-tuned."""
_TIMED = ("latency", "latency_share")
"""Further columns, of a front that was timed."""
_ATTACKED = "under_"
"""Further columns, of a front that was attacked, begin so: ``under_fgsm_2`` is the accuracy under that attack."""


@dataclass(frozen=True)
class Baseline:
    """The original network, which shares are taken of.

    Attributes:
        search_accuracy: top-1 on the search set, 0 to 1.
        test_accuracy: top-1 on the test set, 0 to 1; None when not measured.
        flops: of one image, as fvcore counts.
        params: number of parameters.
        size_mb: of its saved weights, in 10^6 bytes.
    """

    search_accuracy: float
    test_accuracy: float | None
    flops: int
    params: int
    size_mb: float

    @classmethod
    def of(cls, record: object) -> Baseline | None:
        """What a manifest says of the original, where it says all."""
        names = {one.name for one in fields(cls)}
        if not isinstance(record, dict) or set(record) != names:
            return None
        return cls(**record)


@dataclass(frozen=True)
class Timed:
    """How a front was timed.

    Attributes:
        conditions: runtime, batch, threads and hardware, in words.
        seconds: of a batch, by the original.
    """

    conditions: str
    seconds: float


@dataclass(frozen=True)
class FrontRow:
    """One network of the front.

    Attributes:
        index: its place on the front as it is now; a longer search may make it another.
        key: of its genome.
        objectives: what the search minimised, by name.
        search_accuracy: top-1 on the search set, 0 to 1; all choices rest on it.
        test_accuracy: top-1 on the test set, 0 to 1; only reported. None when not measured.
        flops: of one image, as fvcore counts.
        flops_share: of the original's, 0 to 1.
        params: number of parameters.
        params_share: of the original's, 0 to 1.
        size_mb: of its saved weights, in 10^6 bytes.
        path: its folder, relative to the run directory; empty when it is not saved.
        widths: channels left in each group, in the layout's order; empty when not recorded.
        trained_epochs: of the fine-tuning whose weights lie there; 0 when the search's own do.
        search_accuracy_before: top-1 on the search set before fine-tuning; ``None`` without any.
        test_accuracy_before: top-1 on the test set before it.
        fitness_before: the first objective before it; ``None`` also where an earlier version trained it.
        latency: seconds of a batch, under the conditions that the manifest names; ``None`` where nobody asked.
        latency_share: of the original's.
        attacked: by attack, top-1 on the attacked search images, 0 to 1; empty where nobody asked.
    """

    index: int
    key: str
    objectives: dict[str, float]
    search_accuracy: float
    test_accuracy: float | None
    flops: int
    flops_share: float
    params: int
    params_share: float
    size_mb: float
    path: str = ""
    widths: tuple[int, ...] = field(default=())
    trained_epochs: int = 0
    search_accuracy_before: float | None = None
    test_accuracy_before: float | None = None
    fitness_before: float | None = None
    latency: float | None = None
    latency_share: float | None = None
    attacked: dict[str, float] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The folder of the network as the search left it, relative to the run directory."""
        return self.path.removesuffix(f"/{FINETUNED}")

    @property
    def name(self) -> str:
        """What the member is called, whatever its place on the front: the name of its folder."""
        return Path(self.home).name or member_name(self.key)

    def untrained(self) -> FrontRow:
        """The row with the accuracies and the first objective that it had before fine-tuning; no objectives without."""
        if self.search_accuracy_before is None:
            return self
        before = self.fitness_before
        return replace(
            self,
            objectives={} if before is None else {**self.objectives, next(iter(self.objectives)): before},
            search_accuracy=self.search_accuracy_before,
            test_accuracy=self.test_accuracy_before,
            trained_epochs=0,
            search_accuracy_before=None,
            test_accuracy_before=None,
            fitness_before=None,
        )


def member_name(key: str, *marks: str) -> str:
    """The name of a member's folder: always the same network's, whatever else is on the front.

    Args:
        key: of its genome.
        marks: what tells networks of one genome apart, such as ``polished`` or ``iteration2``.

    >>> member_name("3fa9c2e1" * 4, "polished")
    '3fa9c2e1-polished'
    """
    return "-".join([key[:SHORT], *marks])


def write_indices(folder: Path, names: Sequence[str]) -> None:
    """Write beside the members a small file for each index: ``08`` says which member is the eighth now.

    Args:
        folder: that the members lie in.
        names: of the members, in their order.

    Raises:
        OSError: they cannot be written.
    """
    digits = max(2, len(str(len(names) - 1)))
    for index, name in enumerate(names):
        atomic_write(folder / f"{index:0{digits}d}", f"{name}\n".encode())


def member_folder(path: Path) -> Path:
    """The folder that a path stands for: its own, or that of the member which an index names at present.

    Args:
        path: such as ``front/3fa9c2e1``, ``front/08`` or ``front/08/finetuned``.

    Raises:
        RunError: what an index says is no member's name.
    """
    for part in (path, path.parent):
        if part.name.isdecimal() and part.is_file():
            name = _indexed(part)
            _log.warning("%s is member %s now: a longer search may change that, the member's name stays", part, name)
            return part.with_name(name) / path.relative_to(part)
    return path


def _indexed(file: Path) -> str:
    """The name of a member that an index holds."""
    try:
        name = read_file(file.parent, file.name).decode().strip()
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {first_line(error)}") from error
    if not NAME.fullmatch(name):
        raise RunError(f"{file} is damaged: expected the name of a member, found {name[:40]!r}")
    return name


def write_csv(rows: list[FrontRow], path: Path) -> None:
    """Write the rows, one a line under a header; numbers come back exactly.

    Raises:
        OSError: the file cannot be written; an old one stays.
    """
    names = list(rows[0].objectives) if rows else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    trained = _TRAINED if any(row.trained_epochs for row in rows) else ()
    further = (*trained, *(_TIMED if any(row.latency is not None for row in rows) else ()))
    attacks = list(dict.fromkeys(name for row in rows for name in row.attacked))
    under = (_ATTACKED + name for name in attacks)
    writer.writerow([*_COLUMNS, *(_OBJECTIVE + name for name in names), *further, *under])
    for row in rows:
        objectives = (repr(float(row.objectives[name])) for name in names)
        others = (*(getattr(row, name) for name in further), *(row.attacked.get(name) for name in attacks))
        writer.writerow([*_fields(row), *objectives, *map(_plain, others)])
    write_file(path.parent, path.name, text.getvalue().encode())


def read_csv(path: Path) -> list[FrontRow]:
    """The rows that ``write_csv`` wrote.

    Raises:
        RunError: the file is missing or damaged (the line is named).
    """
    try:
        text = read_file(path.parent, path.name).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if _heading(reader)[: len(_COLUMNS)] != _COLUMNS:
        raise RunError(f"{path} is no table of a front: expected the columns {', '.join(_COLUMNS)}")
    rows = []
    try:
        for record in reader:
            rows.append(_row(record))
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged at line {reader.line_num}: {error}") from error
    return rows


def read_front(run: Path) -> list[FrontRow]:
    """The rows of a run's front, once it is known that its members are all there.

    Raises:
        RunError: the table is missing or damaged, or a member is gone or another's.
    """
    table = run / CSV
    for _ in range(ATTEMPTS):
        rows, seal = read_csv(table), read_seal(run)
        try:
            _check_members(run, rows)
        except RunError:
            if seal == read_seal(run):
                raise
            time.sleep(PAUSE)  # somebody is replacing the front
            continue
        break
    return rows


def _check_members(run: Path, rows: Sequence[FrontRow]) -> None:
    """Raise ``RunError`` where what ``front/`` holds is not what was written with the table."""
    listed = f"{FRONT}/{CHECKSUMS}"
    seal = read_seal(run)
    if seal is None or seal.files.get(listed, [None]) == [None]:
        return  # of an earlier version
    check_file(run, listed)
    check_folder(run / FRONT)
    for row in rows:
        home = run / row.home
        if row.path and home.is_dir() and read_seal(home) is None:
            raise altered(run, f"{row.home}/{CHECKSUMS}", "is gone")
        if row.path != row.home:
            with suppress(FileNotFoundError):
                check_file(home, f"{FINETUNED}/{CHECKSUMS}")


def _heading(reader: csv.DictReader[str]) -> tuple[str, ...]:
    """The names of the columns; none where the first line is no line of a table."""
    try:
        return tuple(reader.fieldnames or ())
    except csv.Error:
        return ()


def _fields(row: FrontRow) -> list[str]:
    """The values of ``_COLUMNS``."""
    return [
        str(row.index),
        row.key,
        repr(float(row.search_accuracy)),
        _plain(row.test_accuracy),
        str(row.flops),
        repr(float(row.flops_share)),
        str(row.params),
        repr(float(row.params_share)),
        repr(float(row.size_mb)),
        row.path,
        " ".join(str(width) for width in row.widths),
    ]


def _plain(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else repr(float(value))


def _fraction(text: str) -> float | None:
    return float(text) if text else None


def _row(record: dict[str, str]) -> FrontRow:
    if None in record or None in record.values():
        raise ValueError("wrong number of columns")
    names = [name for name in record if name.startswith(_OBJECTIVE)]
    under = {name.removeprefix(_ATTACKED): text for name, text in record.items() if name.startswith(_ATTACKED)}
    return FrontRow(
        index=int(record["index"]),
        key=record["key"],
        objectives={name.removeprefix(_OBJECTIVE): float(record[name]) for name in names},
        search_accuracy=float(record["search_accuracy"]),
        test_accuracy=_fraction(record["test_accuracy"]),
        flops=int(record["flops"]),
        flops_share=float(record["flops_share"]),
        params=int(record["params"]),
        params_share=float(record["params_share"]),
        size_mb=float(record["size_mb"]),
        path=inside(record["path"]),
        widths=tuple(int(width) for width in record["widths"].split()),
        trained_epochs=int(record.get(_TRAINED[0], "0")),
        search_accuracy_before=_fraction(record.get(_TRAINED[1], "")),
        test_accuracy_before=_fraction(record.get(_TRAINED[2], "")),
        fitness_before=_fraction(record.get(_TRAINED[3], "")),
        latency=_fraction(record.get(_TIMED[0], "")),
        latency_share=_fraction(record.get(_TIMED[1], "")),
        attacked={name: float(text) for name, text in under.items() if text},
    )
