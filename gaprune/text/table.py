"""The table of ten methods: our figures, and beside them the paper's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaprune.compress import DASH, KERNELS
from gaprune.runs import markdown
from gaprune.text.rows import PAPER, REFERENCE, ROWS, PaperRow


@dataclass(frozen=True)
class Figures:
    """What was measured of one chain.

    Attributes:
        size: MB of the files that ship.
        f1: of the positive class, 0 to 1.
        f1_low: lower end of its 95% interval.
        f1_high: upper end.
        gpu: seconds on a GPU; None where it does not run there, or there is none.
        cpu: seconds on the CPU.
        runtime: whose kernels took them.
    """

    size: float
    f1: float
    f1_low: float
    f1_high: float
    gpu: float | None
    cpu: float | None
    runtime: str


def paper_table(
    measured: Mapping[str, Figures], note: str = "", seeds: Mapping[str, Sequence[Figures]] | None = None
) -> str:
    """A Markdown table of the paper's ten rows, ours beside them, then what was measured beyond them.

    Args:
        measured: figures by chain.
        note: lines below, such as how times were taken.
        seeds: by chain, the figures that ``measured`` is the mean of: their least and greatest stand beside it.
    """
    head = ["method", "chain", "runtime", "MB", "paper", "F1 (95%)", "paper", "GPU s", "paper", "CPU s", "paper"]
    entries: dict[str, tuple[str, PaperRow | None]] = {row.chain: (row.name, row) for row in ROWS}
    entries[REFERENCE] = ("none, in ONNX Runtime", None)
    entries |= {chain: ("", None) for chain in measured if chain not in entries}
    each = seeds or {}
    rows = [
        _cells(name, chain, measured.get(chain), paper, each.get(chain, ())) for chain, (name, paper) in entries.items()
    ]
    return "\n".join([markdown(head, rows, text=len(head)), "", f"Paper: {PAPER}.", KERNELS, *([note] if note else [])])


def misplaced(sizes: Mapping[str, float]) -> Sequence[str]:
    """Neighbours in the paper's order of sizes that stand the other way round by ours, as ``larger < smaller``.

    Args:
        sizes: MB of each of the paper's chains.
    """
    wanted = [row.chain for row in sorted(ROWS, key=lambda row: row.size, reverse=True)]
    pairs = itertools.pairwise(wanted)
    return [f"{larger} < {smaller}" for larger, smaller in pairs if sizes[larger] <= sizes[smaller]]


def overlaps(a: Figures, b: Figures) -> bool:
    """Whether the F1 intervals of two chains overlap."""
    return a.f1_low <= b.f1_high and b.f1_low <= a.f1_high


def _cells(name: str, chain: str, ours: Figures | None, paper: PaperRow | None, seeds: Sequence[Figures]) -> list[str]:
    cells = [name, f"`{chain}`", DASH if ours is None else ours.runtime]
    for figure in ("size", "f1", "gpu", "cpu"):
        own = _f1(ours) if ours is not None and figure == "f1" else _number(ours, figure)
        cells += [own + _range(seeds, figure), _number(paper, figure)]
    return cells


def _f1(figures: Figures) -> str:
    return f"{figures.f1:.3f} ({figures.f1_low:.3f}-{figures.f1_high:.3f})"


def _range(seeds: Sequence[Figures], figure: str) -> str:
    """The least and the greatest of the seeds, where they differ as they are written."""
    values = [value for one in seeds if (value := getattr(one, figure)) is not None]
    ends = [f"{end(values):{'.3f' if figure == 'f1' else '.3g'}}" for end in (min, max) if values]
    return f", {'..'.join(ends)}" if len(set(ends)) > 1 else ""


def _number(row: Figures | PaperRow | None, figure: str) -> str:
    value = getattr(row, figure, None)
    return DASH if value is None else f"{value:.3g}"
