"""The front of a search that has not handed one out yet: what stands among the candidates of its log."""

from __future__ import annotations

import numpy as np

from gaprune.views.log import Evaluated
from gaprune.views.record import RunRecord

USUAL = ("accuracy", "flops")


def standing(record: RunRecord) -> list[Evaluated]:
    """The candidates that no other one dominates, fewest FLOPs first; measured to the end, within the constraints.

    By what the run minimises; by accuracy and FLOPs where it minimises less than two things (as rounds do).
    """
    return undominated([one for one in record.evaluated if one.counts], record.objectives)


def undominated(candidates: list[Evaluated], objectives: tuple[str, ...]) -> list[Evaluated]:
    """Those of some candidates that no other one dominates, fewest FLOPs first."""
    from gaprune.evolve import is_efficient

    names = objectives if len(objectives) > 1 else USUAL
    rows = [(one, row) for one in candidates if (row := worth(one, names)) is not None]
    if not rows:
        return []
    efficient = is_efficient(np.array([row for _, row in rows]))
    found = [one for (one, _), stays in zip(rows, efficient, strict=True) if stays]
    return sorted(found, key=lambda one: one.values.get("flops", 0.0))


def worth(one: Evaluated, names: tuple[str, ...]) -> list[float] | None:
    """What is minimised, in the order of the names; ``None`` where the log does not say it."""
    if all(name in one.minimised for name in names):
        return [one.minimised[name] for name in names]
    if names == USUAL and set(USUAL) <= set(one.values):
        return [1.0 - one.values["accuracy"], one.values["flops"]]
    return None
