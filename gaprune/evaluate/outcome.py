"""What one evaluation gives, and how it stands in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gaprune.evaluate.objectives import ACCURACY
from gaprune.evaluate.racing import KINDS
from gaprune.genome import Floats
from gaprune.options import SCORE


@dataclass(frozen=True)
class Outcome:
    """The result of evaluating one genome.

    Attributes:
        key: of the genome.
        values: plain values by objective, and the costs; empty when it failed.
        minimised: by objective, what the search minimises; empty when it failed.
        seconds: time that the evaluation took.
        failure: why it failed, one line; ``None`` when it did not.
        bound: whether measuring was stopped early: the accuracy is an upper bound, and with it the candidate is
            dominated by a network known by then. There is no loss among the values.
        likely: of a bound, the accuracy on the images seen, if any; for who wants to learn, not to judge.
        violation: by how much it does not keep to the constraints, 0 where it does; of a bound the least that it can
            be.
        marks: what the network gets on each image, for races to come (``racing.write_marks``); ``None`` without races
            and of a bound.
    """

    key: str
    values: dict[str, float]
    minimised: dict[str, float]
    seconds: float
    failure: str | None = None
    bound: bool = False
    violation: float = 0.0
    likely: float | None = None
    marks: str | None = None

    def record(self) -> dict[str, Any]:
        """The outcome as a line of ``evaluations.jsonl``."""
        record = asdict(self)
        if self.marks is None:
            del record["marks"]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Outcome:
        """The outcome of a logged line; other entries of the line are passed over."""
        return cls(
            key=str(record["key"]),
            values=dict(record["values"]),
            minimised=dict(record["minimised"]),
            seconds=float(record["seconds"]),
            failure=record["failure"],
            bound=bool(record["bound"]),
            violation=float(record["violation"]),
            likely=None if record["likely"] is None else float(record["likely"]),
            marks=None if record.get("marks") is None else str(record["marks"]),
        )


def judged_value(values: Mapping[str, float]) -> float | None:
    """What networks are told apart by among what was measured: accuracy, or a task's score; ``None`` without any."""
    return values.get(ACCURACY.name, values.get(SCORE))


def objective_matrix(outcomes: Sequence[Outcome], names: Sequence[str]) -> Floats:
    """(n, m) array, minimised; a failed candidate is a row of ``inf``, a bound stands with its accuracy's bound."""
    rows = [
        [np.inf] * len(names) if outcome.failure is not None else [outcome.minimised[name] for name in names]
        for outcome in outcomes
    ]
    return np.array(rows, dtype=np.float64).reshape(len(outcomes), len(names))


def violations(outcomes: Sequence[Outcome]) -> Floats:
    """(n,) violations of the constraints; ``inf`` for a failed candidate."""
    return np.array([np.inf if one.failure is not None else one.violation for one in outcomes], dtype=np.float64)


def expected_matrix(outcomes: Sequence[Outcome], names: Sequence[str]) -> Floats:
    """(n, m) array like ``objective_matrix``, but with the accuracy that is likely where measuring was stopped.

    It is NaN where no image was seen, and so is the loss.
    """
    found = objective_matrix(outcomes, names)
    for column, name in enumerate(names):
        for row, outcome in enumerate(outcomes):
            if outcome.bound and outcome.likely is None and name in KINDS:
                found[row, column] = np.nan
            elif outcome.bound and outcome.likely is not None and name == ACCURACY.name:
                found[row, column] = 1.0 - outcome.likely
    return found
