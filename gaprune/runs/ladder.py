"""The ladder of a search on disk: the widths that the network's own errors suggest for every budget."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaprune.errors import RunError
from gaprune.runs.sealing import read_file, write_file
from gaprune.runs.tables import csv_table

LADDER_NAME = "ladder.csv"
_SHARE = "flops_share"


@dataclass(frozen=True)
class LadderTable:
    """Widths of all channel groups by budget.

    Attributes:
        groups: names, in the layout's order.
        shares: (k,) rising share of the original's FLOPs; the last is the whole network.
        widths: (k, groups) neurons that are kept.
    """

    groups: tuple[str, ...]
    shares: tuple[float, ...]
    widths: tuple[tuple[int, ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons of each group of the whole network."""
        return self.widths[-1]

    def at(self, share: float) -> tuple[float, ...]:
        """Widths at a share of the FLOPs, between two rungs in proportion.

        Example:
            >>> LadderTable(("conv",), (0.5, 1.0), ((4,), (8,))).at(0.75)
            (6.0,)
        """
        columns = zip(*self.widths, strict=True)
        return tuple(float(np.interp(share, self.shares, column)) for column in columns)


def write_ladder(path: Path, groups: Sequence[str], rungs: Sequence[tuple[float, Sequence[int]]]) -> None:
    """Write rungs, each a share of the FLOPs and the widths of all groups; by rising share.

    Raises:
        OSError: it cannot be written; an old one stays.
    """
    rows = [[repr(float(share)), *widths] for share, widths in sorted(rungs, key=lambda rung: rung[0])]
    write_file(path.parent, path.name, csv_table([_SHARE, *groups], rows).encode())


def read_ladder(path: Path) -> LadderTable:
    """What ``write_ladder`` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        text = read_file(path.parent, path.name).decode()
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        head, body = rows[0], rows[1:]
        shares = tuple(float(row[0]) for row in body)
        widths = tuple(tuple(int(cell) for cell in row[1:]) for row in body)
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    fits = head[:1] == [_SHARE] and all(len(row) == len(head) for row in body)
    if not fits or not body or list(shares) != sorted(shares):
        raise RunError(f"{path} is no table of a ladder: expected {_SHARE} and a column of widths for each group")
    return LadderTable(tuple(head[1:]), shares, widths)
