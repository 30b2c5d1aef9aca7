"""Runs that differ in nothing but their seed, as one band: what some, half and all of them attain.

The empirical attainment function (Fonseca, Guerreiro, Lopez-Ibanez, Paquete, "On the computation of the empirical
attainment function", EMO 2011), computed by moocore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from gaprune.genome import Floats
from gaprune.views.axes import flops_share
from gaprune.views.provisional import standing
from gaprune.views.record import RunRecord
from gaprune.views.style import Figure, colour, dash, figure, translucent

NO_PART = ("seed", "output", "cache_dir", "ray_address", "workers")
"""Options that two runs of a band may differ in."""

FEWEST = 2
LEVELS = (("some", "best of all"), ("half", "half of them"), ("all", "each of them"))


@dataclass(frozen=True)
class Band:
    """Runs that differ in their seed.

    Attributes:
        records: the runs, two or more.
        surfaces: by ``some``, ``half`` and ``all``, (k, 2) share of FLOPs and accuracy on the search set, by rising
            FLOPs: the corners of what so many of the runs attain.
    """

    records: tuple[RunRecord, ...]
    surfaces: dict[str, Floats]

    @property
    def name(self) -> str:
        """In the legend."""
        return f"{self.records[0].title}, {len(self.records)} seeds ({self.records[0].name} ...)"


def bands(records: Sequence[RunRecord]) -> list[Band]:
    """The groups of runs that differ in nothing but their seed; of images, for a task's data is not known."""
    groups: list[list[RunRecord]] = []
    for record in (one for one in records if one.score is None):
        home = next((group for group in groups if _settings(group[0]) == _settings(record)), None)
        if home is None or not record.options:
            groups.append([record])
        else:
            home.append(record)
    found = [Band(tuple(group), attained(group)) for group in groups if len(group) >= FEWEST]
    return [band for band in found if band.surfaces]


def attained(records: Sequence[RunRecord]) -> dict[str, Floats]:
    """What some, half and all of several runs attain of accuracy over FLOPs; empty where a run has no front."""
    fronts = [points(record) for record in records]
    if not all(len(front) for front in fronts):
        return {}
    sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    count = len(fronts)
    levels = {"some": 100 / count, "half": 100 * -(-count // 2) / count, "all": 100.0}
    found = {}
    for name, percent in levels.items():
        rows = moocore.eaf(np.concatenate(fronts), sets, percentiles=[percent])
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        found[name] = np.stack([rows[:, 0], 1.0 - rows[:, 1]], axis=1)
    return found


def points(record: RunRecord) -> Floats:
    """(n, 2) share of FLOPs and error on the search set of a run's front, or of what stands so far."""
    if record.rows:
        pairs = [(row.flops_share, 1.0 - row.untrained().search_accuracy) for row in record.rows]
    else:
        values = [(flops_share(record, one.values), one.values.get(record.judged_by)) for one in standing(record)]
        pairs = [(share, 1.0 - accuracy) for share, accuracy in values if share is not None and accuracy is not None]
    return np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)


def attainment_figure(found: Sequence[Band]) -> Figure:
    """Each band: filled between what some and what all of its runs attain, a line for half of them."""
    right = max((float(surface[-1, 0]) for band in found for surface in band.surfaces.values()), default=1.0)
    data = []
    for place, band in enumerate(found):
        hue = colour(place)
        for level, words in LEVELS:
            surface = band.surfaces[level]
            middle = level == "half"
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": f"{band.name}: {words}",
                    "x": [round(100 * float(x), 3) for x in [*surface[:, 0], right]],
                    "y": [round(100 * float(y), 3) for y in [*surface[:, 1], surface[-1, 1]]],
                    "line": {
                        "color": hue,
                        "shape": "hv",
                        "width": 3 if middle else 1,
                        "dash": dash(place if middle else 2),
                    },
                    "hovertemplate": f"{words}: %{{y:.2f}}% at %{{x:.2f}}% of FLOPs<extra></extra>",
                    **({} if level == "some" else {"fill": "tonexty", "fillcolor": translucent(hue, 0.16)}),
                }
            )
    return figure(data, "FLOPs left (%)", "accuracy, search images (%)", height=460, showlegend=True)


def _settings(record: RunRecord) -> tuple[object, ...]:
    options = {name: value for name, value in record.options.items() if name not in NO_PART}
    return (record.title, repr(sorted(options.items())))
