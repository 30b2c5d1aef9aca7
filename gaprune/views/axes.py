"""What a front can be drawn over: each quantity with its words and scale, and its values of candidates and members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gaprune.options import LATENCY, SCORE, UNDER_ATTACK
from gaprune.runs import MEGABYTE, Baseline, FrontRow
from gaprune.views.methods import Method
from gaprune.views.record import ACCURACY, RunRecord

Values = list[float | None]
COSTS = ("flops", "params", "size")


@dataclass(frozen=True)
class Axis:
    """A quantity.

    Attributes:
        name: as objectives are called.
        label: in words, with the unit.
        percent: whether values are shares, shown in percent.
        places: decimals that are shown.
        scale: what values are multiplied by, where they are no shares.
    """

    name: str
    label: str
    percent: bool = False
    places: int = 4
    scale: float = 1.0


def attack_words(name: str) -> str:
    """An attack's name in words.

    >>> attack_words("pgd_8")
    'PGD 8/255'
    """
    kind, _, size = name.partition("_")
    return f"{kind.upper()} {size}/255"


KNOWN = (
    Axis("accuracy", "accuracy (%)", percent=True, places=2),
    Axis("flops", "FLOPs left (%)", percent=True, places=2),
    Axis("params", "parameters left (%)", percent=True, places=2),
    Axis("size", "size on disk left (%)", percent=True, places=2),
    Axis("loss", "loss on the search set (nats)"),
    Axis(LATENCY, "latency of a batch (ms)", places=3, scale=1e3),
    Axis("robustness", "accuracy under attack, mean (%)", percent=True, places=2),
    *(Axis(name, f"accuracy under {attack_words(name)} (%)", percent=True, places=2) for name in UNDER_ATTACK),
)
ENDS = frozenset({"latency_low", "latency_high"})
"""Logged beside the latency: the ends of its interval, which are no axis."""


def axes_of(records: Sequence[RunRecord]) -> tuple[Axis, ...]:
    """Every quantity that some run has values of, the usual ones first."""
    names = {name for record in records for one in record.evaluated for name in one.values}
    names |= {name for record in records for row in record.rows for name in row.objectives}
    names |= {name for record in records for row in record.rows for name in row.attacked}
    names |= {LATENCY for record in records for row in record.rows if row.latency is not None}
    judged = {record.judged_by for record in records} or {ACCURACY}
    names = (names | judged | set(COSTS)) - ENDS
    scores = dict.fromkeys(record.score for record in records if record.score is not None)
    known = [*((Axis(SCORE, " or ".join(scores)),) if SCORE in judged else ()), *KNOWN]
    known = [axis for axis in known if axis.name in names]
    other = sorted(names - {axis.name for axis in known})
    return (*known, *(Axis(name, name.replace("_", " ")) for name in other))


def of_candidates(record: RunRecord, axis: Axis, values: Iterable[Mapping[str, float]]) -> Values:
    """An axis's values of logged candidates, as drawn; costs are shares of the original's, where that is known."""
    return [_drawn(axis, _share(record.original, axis.name, one.get(axis.name))) for one in values]


def of_rows(record: RunRecord, rows: Iterable[FrontRow], axis: Axis, *, tested: bool) -> Values:
    """An axis's values of members; accuracy or score on the test set or the search set."""
    return [_drawn(axis, _of_row(record, row, axis.name, tested)) for row in rows]


def of_original(record: RunRecord, original: Baseline, axis: Axis, *, tested: bool) -> Values:
    """The original's value, where it is known."""
    if axis.name == record.judged_by:
        return [_drawn(axis, original.test_accuracy if tested else original.search_accuracy)]
    return [_drawn(axis, 1.0 if axis.name in COSTS else None)]


def of_methods(methods: Iterable[Method], axis: Axis) -> Values:
    """An axis's values of other methods' networks."""
    return [_drawn(axis, one.accuracy if axis.name == "accuracy" else one.shares.get(axis.name)) for one in methods]


def flops_share(record: RunRecord, values: Mapping[str, float]) -> float | None:
    """Share of the original's FLOPs that a logged candidate has; ``None`` where one of them is not known."""
    return _share(record.original, "flops", values.get("flops"))


def _share(original: Baseline | None, name: str, value: float | None) -> float | None:
    if name not in COSTS or value is None:
        return value
    if original is None:
        return None
    whole = {"flops": original.flops, "params": original.params, "size": original.size_mb * MEGABYTE}[name]
    return value / whole


def _of_row(record: RunRecord, row: FrontRow, name: str, tested: bool) -> float | None:
    if name == record.judged_by:
        return row.test_accuracy if tested else row.search_accuracy
    if name == "flops":
        return row.flops_share
    if name == "params":
        return row.params_share
    if name == "size":
        return _share(record.original, name, row.size_mb * MEGABYTE)
    if name == LATENCY and row.latency is not None:
        return row.latency
    return row.objectives.get(name, row.attacked.get(name))


def _drawn(axis: Axis, value: float | None) -> float | None:
    if value is None:
        return None
    return round(100 * value, axis.places + 2) if axis.percent else axis.scale * value
