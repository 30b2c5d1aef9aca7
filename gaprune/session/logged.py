"""What a search has logged, as outcomes."""

from __future__ import annotations

from pathlib import Path

from gaprune.errors import RunError
from gaprune.evaluate import Outcome
from gaprune.runs import EvaluationLog


def logged_outcomes(path: Path) -> list[tuple[int, Outcome]]:
    """Every outcome of a log with the generation that it was evaluated for, in the order of their evaluation.

    Args:
        path: of the log; may be missing.

    Raises:
        RunError: a line is no evaluation.
    """
    found = []
    for record in EvaluationLog(path).load():
        try:
            found.append((int(record["generation"]), Outcome.from_record(record)))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} has a line that is no evaluation: {error!r}") from error
    return found
