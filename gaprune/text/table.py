"""The table of ten methods: our figures, and beside them the paper's."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaprune.text.rows import PAPER, ROWS, PaperRow

_DASH = "-"


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
    """

    size: float
    f1: float
    f1_low: float
    f1_high: float
    gpu: float | None
    cpu: float | None


def paper_table(measured: Mapping[str, Figures], note: str = "") -> str:
    """A Markdown table of the paper's ten rows, ours beside them, then what was measured beyond them.

    Args:
        measured: figures by chain.
        note: a line below, such as how times were taken.
    """
    head = ["method", "chain", "MB", "paper", "F1 (95%)", "paper", "GPU s", "paper", "CPU s", "paper"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    known = {row.chain for row in ROWS}
    lines += [_line(row.name, row.chain, measured.get(row.chain), row) for row in ROWS]
    lines += [_line("", chain, figures, None) for chain, figures in measured.items() if chain not in known]
    return "\n".join([*lines, "", f"Paper: {PAPER}.", *([note] if note else [])])


def order_of_sizes(sizes: Mapping[str, float]) -> list[str]:
    """The paper's chains among ``sizes`` (MB by chain), largest first."""
    chains = [row.chain for row in ROWS if row.chain in sizes]
    return sorted(chains, key=lambda chain: sizes[chain], reverse=True)


def misplaced(sizes: Mapping[str, float]) -> Sequence[str]:
    """Neighbours in the paper's order of sizes that stand the other way round by ours, as ``larger < smaller``."""
    wanted = [row.chain for row in sorted(ROWS, key=lambda row: row.size, reverse=True) if row.chain in sizes]
    pairs = itertools.pairwise(wanted)
    return [f"{larger} < {smaller}" for larger, smaller in pairs if sizes[larger] <= sizes[smaller]]


def overlaps(a: Figures, b: Figures) -> bool:
    """Whether the F1 intervals of two chains overlap."""
    return a.f1_low <= b.f1_high and b.f1_low <= a.f1_high


def _line(name: str, chain: str, ours: Figures | None, paper: PaperRow | None) -> str:
    cells = [name, f"`{chain}`"]
    for figure in ("size", "f1", "gpu", "cpu"):
        own = _f1(ours) if ours is not None and figure == "f1" else _number(ours, figure)
        cells += [own, _number(paper, figure)]
    return "| " + " | ".join(cells) + " |"


def _f1(figures: Figures) -> str:
    return f"{figures.f1:.3f} ({figures.f1_low:.3f}-{figures.f1_high:.3f})"


def _number(row: Figures | PaperRow | None, figure: str) -> str:
    value = getattr(row, figure, None)
    return _DASH if value is None else f"{value:.3g}"
